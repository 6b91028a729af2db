"""The class that ``MODEL_LOADER=package.module:Class`` names."""

import importlib
import inspect
import re

from pydantic import BaseModel

from app.core.errors import ModelLoadError
from app.services.predictor import Predictor

_REFERENCE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
_LONGEST_REASON = 300


def import_class(reference: str) -> type[Predictor]:
    """Import the predictor class that ``package.module:Class`` names.

    Raises:
        ModelLoadError: the module or class is not there, cannot be imported, or is no complete `Predictor`.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelLoadError(f"MODEL_LOADER={reference!r} is not of the form package.module:Class")
    module_name, name = match["module"], match["name"]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ModelLoadError(
                f"MODEL_LOADER: there is no module {error.name}; it must be installed, or importable from the folder "
                "that the server is started in"
            ) from error
        raise ModelLoadError(
            f"MODEL_LOADER: {module_name} needs the module {error.name}, which is not installed"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ModelLoadError(
            f"MODEL_LOADER: importing {module_name} failed: {type(error).__name__}: {reason}"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        there = [key for key, value in vars(module).items() if _is_own_predictor(value, module_name)]
        raise ModelLoadError(
            f"MODEL_LOADER: {module_name} has no {name}; predictors in it: {', '.join(there) or 'none'}"
        )
    return _checked(found, reference)


def _is_own_predictor(value: object, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, Predictor) and value.__module__ == module


def _checked(found: object, reference: str) -> type[Predictor]:
    if not isinstance(found, type) or not issubclass(found, Predictor):
        raise ModelLoadError(
            f"MODEL_LOADER: {reference} is no subclass of Predictor (app.services.predictor)"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ModelLoadError(f"MODEL_LOADER: {reference} does not define {missing}")
    for attribute in ("Request", "Response"):
        declared = getattr(found, attribute, None)
        if not isinstance(declared, type) or not issubclass(declared, BaseModel):
            raise ModelLoadError(f"MODEL_LOADER: {reference}.{attribute} must be a pydantic model class")
    return found
