"""Pickled objects with a ``predict``, such as scikit-learn's. A pickle runs code, so it is read only when asked for."""

import re
import stat
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from app.core.errors import ModelLoadError
from app.services.loaders.choice import KINDS, listing
from app.services.loaders.estimator import Estimator
from app.services.predictor import LoadContext, Predictor
from app.services.tabular import TabularOutput, TabularPredictor
from app.services.text_classifier import SMOKE_TEXT, WholeTextClassifier

_MISSING_ATTRIBUTE = re.compile(r"Can't get attribute '(?P<name>[^']+)' on <module '(?P<module>[^']+)'")
_NAMELESS = "X does not have valid feature names"
_MOST_TOGETHER = 128
_CHARACTERS_A_COST = 2_000


class JoblibPredictor:
    """What the two kinds of pickled models have in common; `load` finds out which one it is."""

    estimator: Estimator
    warnings: list[str]

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Predictor:
        """Read the pickle, find out whether it takes texts or numbers, and try it once.

        Raises:
            ModelLoadError: it cannot be read, has no such method, takes neither texts nor a known number of features,
                or fails at a first prediction; names the versions where they differ.
        """
        names = KINDS["joblib"].finds(listing(path))
        if len(names) != 1:
            raise ModelLoadError(f"there must be one pickle, and there are {len(names)}: {', '.join(names)}")
        file = path / names[0] if path.is_dir() else path
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = _read(file)
            try:
                predictor = _predictor_for(loaded, context)
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                if not isinstance(error, ModelLoadError):
                    reason = f"it can be read but not used: {type(error).__name__}: {reason}"
                raise ModelLoadError(f"{file.name}: {reason}{_because(_told(caught))}") from error
        predictor.warnings = _told(caught)
        if context.refuse_version_skew and any(_is_skew(entry.message) for entry in caught):
            raise ModelLoadError(
                f"{file.name}: {'; '.join(predictor.warnings)}: train it again with the installed version, or set "
                "PICKLE_VERSION_SKEW=warn"
            )
        if place := _writable_by_all(file):
            logger.warning(
                "{} can be written by every user, and a pickle in it runs code: chmod o-w it", place
            )
        # Rows come without names, and a model that was fitted with names says so at each call.
        warnings.filterwarnings("ignore", _NAMELESS, UserWarning)
        for message in predictor.warnings:
            logger.warning("{}: {}", file.name, message)
        return predictor

    def describe(self) -> dict[str, Any]:
        """Tell the object, how its answers are read, and what was warned of when it was loaded."""
        return {
            "runtime": f"scikit-learn {_version('scikit-learn')}" if "sklearn" in sys.modules else "joblib",
            "device": "cpu",
            **self.estimator.describe(),
            "warnings": self.warnings,
        }


class JoblibTexts(JoblibPredictor, WholeTextClassifier):
    """A pickled pipeline that takes raw texts."""

    batch_cost = _MOST_TOGETHER

    def __init__(self, estimator: Estimator) -> None:
        """Wrap an estimator, and settle what its answers mean."""
        self.estimator = estimator
        self.warnings = []
        estimator.settle([SMOKE_TEXT], is_text=True)
        self.labels = estimator.labels

    def answer(self, texts: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
        """Ask about all texts at once: a call costs more than a row."""
        return [(str(found.label), found.confidences) for found in self.estimator.answer(list(texts))]

    def cost(self, prepared: Any) -> int:
        """Return 1, and more for long texts."""
        return 1 + len(prepared.text) // _CHARACTERS_A_COST


class JoblibRows(JoblibPredictor, TabularPredictor):
    """A pickled model that takes rows of numbers."""

    batch_cost = _MOST_TOGETHER

    def __init__(
        self, estimator: Estimator, features: int, smoke_row: list[float] | None, names: Sequence[str]
    ) -> None:
        """Wrap an estimator, and settle what its answers mean."""
        import numpy

        self._numpy = numpy
        self.estimator = estimator
        self.warnings = []
        self.features = features
        self.smoke_row = smoke_row
        self._feature_names = list(names)
        estimator.settle(self._array([self.smoke_item()]), is_text=False)
        self.labels = estimator.labels

    def answer(self, rows: Sequence[Sequence[float]]) -> list[TabularOutput]:
        """Ask about all rows at once: a call costs more than a row."""
        answers = self.estimator.answer(self._array(rows))
        return [TabularOutput(found.label, found.confidences, found.value) for found in answers]

    def describe(self) -> dict[str, Any]:
        """Tell the features, too."""
        return {**super().describe(), "features": self.features, "feature_names": self._feature_names}

    def _array(self, rows: Sequence[Any]) -> Any:
        return self._numpy.asarray(rows, dtype=self._numpy.float64)


def _read(file: Path) -> Any:
    import joblib

    try:
        return joblib.load(file)
    except AttributeError as error:
        match = _MISSING_ATTRIBUTE.search(str(error))
        if match is None:
            raise ModelLoadError(f"{file.name} cannot be read: {error}{_installed()}") from error
        # The module that runs now stands in for the script's, and tells its own name.
        where = "__main__" if match["module"].endswith("__main__") else match["module"]
        script = ", the script that wrote it" if where == "__main__" else ""
        raise ModelLoadError(
            f"{file.name} needs {match['name']} of the module {where}{script}: it must live in an importable package "
            "that is installed here, and the pickle be written with it imported from there"
        ) from error
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"{file.name} needs the module {error.name}, which is not installed: a class in a pickle must live in an "
            f"importable package{_installed()}"
        ) from error
    except Exception as error:  # A damaged pickle makes almost any exception.
        reason = " ".join(str(error).split())[:200]
        raise ModelLoadError(
            f"{file.name} is no pickle that can be read: {type(error).__name__}: {reason}{_installed()}"
        ) from error


def _predictor_for(loaded: Any, context: LoadContext) -> "JoblibTexts | JoblibRows":
    estimator = Estimator(loaded, context.predict_method, context.manifest)
    example = next((golden.input for golden in context.manifest.golden.examples), None)
    if isinstance(example, dict):
        example = example.get("text", example.get("features"))
    row = example if isinstance(example, list) else None
    features = getattr(loaded, "n_features_in_", None)
    if context.manifest.task == "text-classification" or (
        context.manifest.task is None
        and features is None
        and (
            isinstance(example, str)
            or _reads_texts(loaded)
            or (row is None and _accepts_text(loaded, context))
        )
    ):
        return JoblibTexts(estimator)
    if features is None and row is None:
        raise ModelLoadError(
            f"the {type(loaded).__name__} takes no text and does not tell its number of features (n_features_in_): "
            "give task and a golden example in marquee.json, or serve it by a class of your own"
        )
    names = getattr(loaded, "feature_names_in_", ())
    return JoblibRows(estimator, int(features or len(row or ())), row, [str(name) for name in names])


def _reads_texts(loaded: Any) -> bool:
    """Return whether the first step turns texts into numbers, as scikit-learn's text vectorizers do."""
    if hasattr(loaded, "build_analyzer"):
        return True
    steps = getattr(loaded, "steps", None) or getattr(loaded, "transformer_list", None)
    if steps:
        return _reads_texts(steps[0][1])
    best = getattr(loaded, "best_estimator_", None)
    return best is not None and _reads_texts(best)


def _accepts_text(loaded: Any, context: LoadContext) -> bool:
    try:
        getattr(loaded, context.predict_method)([SMOKE_TEXT])
    except Exception:  # noqa: BLE001 - a refusal is the answer
        return False
    return True


def _told(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    """Return warnings as one line each, version skew with both versions, each once."""
    lines = []
    for entry in caught:
        message = entry.message
        written = getattr(message, "original_sklearn_version", None)
        if written:
            lines.append(
                f"{getattr(message, 'estimator_name', 'it')} was pickled by scikit-learn {written} and is read by "
                f"{getattr(message, 'current_sklearn_version', _version('scikit-learn'))}"
            )
        elif _NAMELESS not in str(message):
            lines.append(f"{entry.category.__name__}: {' '.join(str(message).split())[:200]}")
    return list(dict.fromkeys(lines))


def _is_skew(message: Warning | str) -> bool:
    return getattr(message, "original_sklearn_version", None) is not None


def _writable_by_all(file: Path) -> Path | None:
    """Return the pickle or the folder above it that every user may change; in a sticky one they can't."""
    for place in (file.absolute(), *file.absolute().parents):
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return place
    return None


def _because(found: Sequence[str]) -> str:
    return f" ({'; '.join(found)})" if found else _installed()


def _installed() -> str:
    return f" (installed: scikit-learn {_version('scikit-learn')}, numpy {_version('numpy')})"


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
