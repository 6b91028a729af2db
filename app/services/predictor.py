"""What the server asks of a model, and which loader the configuration names.

To serve another flavour of model, subclass `Predictor`, and set ``MODEL_LOADER=package.module:Class``.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from app.core.config import Settings
from app.core.errors import ModelLoadError, StartupError
from app.services.artifact import Manifest, ModelFiles

LOADERS: dict[str, str] = {
    "onnx": "app.services.loaders.onnx:OnnxPredictor",
    "transformers": "app.services.loaders.transformers:TransformersPredictor",
    "keras": "app.services.loaders.keras:KerasPredictor",
    "joblib": "app.services.loaders.joblib:JoblibPredictor",
}
"""The loaders that ``MODEL_LOADER`` may name, and the classes whose ``load`` returns a `Predictor`; imported late."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a loader gets beside the model's files.

    Attributes:
        manifest: the artifact's description; defaults where it brought none.
        parameters: the JSON object of ``MODEL_PARAMETERS``.
        predict_method: the method of the loaded object to call (``PREDICT_METHOD``).
        threads: cores that one prediction may use.
        max_bytes: what an archive may hold unpacked (``MODEL_MAX_BYTES``).
        refuse_version_skew: whether a pickle of another library version is an error (``PICKLE_VERSION_SKEW``).
    """

    manifest: Manifest = field(default_factory=Manifest)
    parameters: dict[str, Any] = field(default_factory=dict)
    predict_method: str = "predict"
    threads: int = 1
    max_bytes: int = 5 << 30
    refuse_version_skew: bool = False


class Predictor(ABC):
    """A loaded model. One instance serves all requests; its methods run on worker threads, never at once
    with themselves unless `parallel` says that they may.

    A request is split into items; items of several requests may be predicted together; the outputs of a
    request are joined into its response.
    """

    Request: ClassVar[type[BaseModel]]
    """The body of ``POST /predict``; shapes validation and the OpenAPI page."""

    Response: ClassVar[type[BaseModel]]
    """The reply. The server adds the fields ``id`` and ``model`` if the class declares them."""

    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the outputs; empty for a model that does not classify."""

    batch_cost: int = 1
    """How much, in units of `cost`, may be predicted together; 1 means one item at a time."""

    parallel: int = 1
    """How many calls of `prepare` and `predict` may run at once, on threads."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path, context: LoadContext) -> "Predictor":
        """Read the model from a folder or file; what is returned may be of a subclass that fits what was found.

        Raises:
            ModelLoadError: the files are not what this loader needs; says which and what would mend it.
        """

    def split(self, request: Any) -> list[Any]:
        """Return the items of a validated request; by default the request itself is the only one."""
        return [request]

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        """Turn items into what `predict` takes; by default nothing is done.

        Raises:
            InvalidInputError: an item is not acceptable; `position` says which.
        """
        return list(items)

    @abstractmethod
    def predict(self, batch: Sequence[Any]) -> list[Any]:
        """Return one output for each prepared item, in order. No output may depend on its neighbours."""

    def join(self, request: Any, items: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
        """Return the fields of the response; by default those of the only output, a mapping or a model."""
        output = outputs[0]
        return output.model_dump() if isinstance(output, BaseModel) else dict(output)

    def cost(self, prepared: Any) -> int:
        """Return how much work a prepared item is, in tokens where there are tokens."""
        return 1

    def group(self, prepared: Any) -> Hashable:
        """Return what items that are predicted together have in common, such as a length; None where all may be."""
        return None

    def row(self, item: Any, output: Any) -> dict[str, Any]:
        """Return the columns of the inference log: flat, JSON scalars. ``text`` is masked by the log itself."""
        return {}

    def smoke_item(self) -> Any | None:
        """Return an item to try at start-up where the artifact brings no golden examples."""
        return None

    def use_reference(self, reference: dict[str, Any]) -> None:
        """Take from the artifact's reference profile what rows are to tell the monitor; called once, after `load`."""

    def describe(self) -> dict[str, Any]:
        """Return facts for ``/api/v1/model``: library versions, limits, devices."""
        return {}

    def close(self) -> None:
        """Free what the model holds; called once, when no prediction runs."""


def load_predictor(files: ModelFiles, settings: Settings) -> Predictor:
    """Load a model by the loader that the settings name, or that fits.

    Raises:
        ModelLoadError: the loader is unknown or does not fit the files, a library is missing, the files are not what
            the loader needs, or a class of one's own failed; one line that says which.
    """
    from app.services.loaders.choice import choose_loader, missing_library
    from app.services.loaders.custom import import_class

    name = choose_loader(files, settings)
    context = LoadContext(
        files.manifest,
        settings.model_parameters,
        settings.predict_method,
        settings.inference_threads,
        settings.model_max_bytes,
        settings.pickle_version_skew == "refuse",
    )
    kind: Any
    if name in LOADERS:
        module, _, attribute = LOADERS[name].partition(":")
        kind = getattr(import_module(module), attribute)
    else:
        kind = import_class(name)
    try:
        predictor: object = kind.load(files.path, context)
    except StartupError:
        raise
    except ImportError as error:
        raise ModelLoadError(missing_library(name, error)) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelLoadError(f"the loader {name} failed: {type(error).__name__}: {reason}") from error
    if not isinstance(predictor, Predictor):
        raise ModelLoadError(f"{name}: load() must return a Predictor, not {type(predictor).__name__}")
    predictor.use_reference(files.manifest.reference)
    return predictor
