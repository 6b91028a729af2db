"""An object with a ``predict``, as scikit-learn's have it: what it is asked, and what its answers mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core.errors import ModelLoadError, PredictionFailedError
from app.services.artifact import MANIFEST_NAME, Manifest
from app.services.outputs import Meaning, check_labels, meaning_of, probabilities
from app.services.tabular import finite

_SCORES = ("predict_proba", "decision_function")
_SIGNS = ({0, 1}, {-1, 1})
_LIKELIEST = {"ExtraTreesClassifier", "LogisticRegression", "RandomForestClassifier"}
"""scikit-learn's classes whose `predict` is the likeliest class of `predict_proba`: one question answers both."""
_KNOWN_METHODS = ("predict", *_SCORES, "predict_log_proba", "score_samples", "transform")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the object says of one input: a label with confidences where it has them, or a value."""

    label: str | None
    confidences: dict[str, float]
    value: float | None = None


class Estimator:
    """Calls a loaded object and names what it answers.

    With the method ``predict`` labels are what it returns, and confidences come from ``predict_proba``, else from
    ``decision_function`` (squashed, hence not calibrated), else there are none.
    """

    def __init__(self, loaded: Any, method: str, manifest: Manifest) -> None:
        """Wrap the object; `settle` must follow.

        Raises:
            ModelLoadError: it has no such method.
        """
        if not callable(getattr(loaded, method, None)):
            there = [name for name in _KNOWN_METHODS if callable(getattr(loaded, name, None))]
            raise ModelLoadError(
                f"the {type(loaded).__name__} in the pickle has no method {method!r} (PREDICT_METHOD); "
                f"it has {', '.join(there) or 'none that is known'}"
            )
        self._loaded = loaded
        self._method = method
        self._manifest = manifest
        self._source = next((name for name in _SCORES if method == "predict" and hasattr(loaded, name)), None)
        self._names: dict[Any, str] = {}
        self._meaning: Meaning | None = None
        self._steps = _split_pipeline(loaded)
        self.labels: tuple[str, ...] = ()

    def settle(self, batch: Any, is_text: bool) -> None:
        """Ask once, and decide what the answers mean.

        Args:
            batch: one input or a few, as the object takes them.
            is_text: whether they are texts; two classes called 0 and 1 are then negative and positive.

        Raises:
            ModelLoadError: the answers can't be served, or labels don't fit them.
        """
        classes = _classes_of(self._loaded)
        if classes is not None:
            self.labels = self._manifest.labels or tuple(_name(value, classes, is_text) for value in classes)
            check_labels(self.labels, len(classes))
            given = [str(value) for value in classes]
            if set(given) == set(self.labels) and given != list(self.labels):
                raise ModelLoadError(
                    f"{MANIFEST_NAME} has the labels in the order {', '.join(self.labels)}, the model in the order "
                    f"{', '.join(given)}"
                )
        elif self._manifest.labels:
            classes = list(range(len(self._manifest.labels)))
            self.labels = self._manifest.labels
            check_labels(self.labels, None)
        self._names = dict(zip(classes or (), self.labels, strict=True))
        predicted, scores = self._ask(batch)
        if scores is not None:
            self._settle_scores(scores)
        if is_text and not self.labels and not isinstance(predicted[0], str):
            raise ModelLoadError(
                "it answers a text with a number and has no classes: give labels in marquee.json, or serve it by a "
                "class of your own (MODEL_LOADER=package.module:Class)"
            )
        self.answer(batch)

    def answer(self, batch: Any) -> list[Answer]:
        """Return an answer for each input.

        Raises:
            PredictionFailedError: a number is not finite, or a class has no name.
        """
        predicted, scores = self._ask(batch)
        if scores is None:
            return [self._labelled(value) for value in predicted]
        if not all(finite(row) for row in scores):
            raise PredictionFailedError("the model gave no finite number for this input")
        assert self._meaning is not None
        answers = []
        for index, row in enumerate(scores):
            shares = probabilities(row, self._meaning, self._manifest.temperature)
            confidences = dict(zip(self.labels, shares, strict=True))
            label = (
                self._labelled(predicted[index]).label
                if predicted
                else max(confidences, key=confidences.__getitem__)
            )
            answers.append(Answer(label, confidences))
        return answers

    def describe(self) -> dict[str, Any]:
        """Tell the object and where its confidences come from."""
        asked = self._source or (self._method if self._meaning else None)
        return {
            "class": type(self._loaded).__name__,
            "method": self._method,
            "confidences": f"{asked}: {self._meaning}" if asked and self._meaning else None,
        }

    def _settle_scores(self, scores: list[list[float]]) -> None:
        width = len(scores[0])
        if not self.labels:
            raise ModelLoadError(
                f"{self._source or self._method} gives {width} numbers and there are no labels: give labels in "
                "marquee.json, in the order of the outputs"
            )
        if len(self.labels) != (2 if width == 1 else width):
            if self._source == "decision_function":  # One against one: a number for each pair of classes.
                self._source = None
                return
            raise ModelLoadError(
                f"{self._source or self._method} gives {width} numbers for {len(self.labels)} labels: "
                f"{', '.join(self.labels)}"
            )
        if "decision_function" in (self._source, self._method):
            self._meaning = Meaning.LOGIT if width == 1 else Meaning.LOGITS
        else:
            self._meaning = meaning_of(scores)

    def _ask(self, batch: Any) -> tuple[list[Any], list[list[float]] | None]:
        """Return what was predicted (empty where only scores were), and rows of scores, if there are any."""
        if self._method != "predict":
            values = _plain(getattr(self._loaded, self._method)(batch))
            is_score = bool(values) and (
                isinstance(values[0], list)
                or (isinstance(values[0], float) and len(self.labels) == 2 and values[0] not in self._names)
            )
            return ([], _rows(values)) if is_score else (values, None)
        asked = self._loaded
        if self._source is not None and self._steps is not None:
            before, asked = self._steps
            batch = before.transform(batch)
        if self._source == "predict_proba" and self.labels and _is_sklearn(asked, _LIKELIEST):
            return [], _rows(_plain(asked.predict_proba(batch)))
        predicted = _plain(asked.predict(batch))
        if predicted and isinstance(predicted[0], list):
            if any(len(row) != 1 for row in predicted):
                raise ModelLoadError(
                    f"it answers {len(predicted[0])} values for one input; one is what is served"
                )
            predicted = [row[0] for row in predicted]
        if self._source is None:
            return predicted, None
        return predicted, _rows(_plain(getattr(asked, self._source)(batch)))

    def _labelled(self, value: Any) -> Answer:
        if self._names:
            name = self._names.get(value)
            if name is None:
                raise PredictionFailedError("the model answered a class that it has no name for")
            return Answer(name, {})
        if isinstance(value, float):
            if not finite([value]):
                raise PredictionFailedError("the model gave no finite number for this input")
            return Answer(None, {}, value)
        return Answer(str(value), {})


def _split_pipeline(loaded: Any) -> tuple[Any, Any] | None:
    """Return the steps before the last of a pipeline, and the last: what the former make of a batch serves both
    questions. None for anything else.
    """
    if not _is_sklearn(loaded, {"Pipeline"}) or len(loaded.steps) < 2:
        return None
    return loaded[:-1], loaded.steps[-1][1]


def _is_sklearn(loaded: Any, names: set[str]) -> bool:
    """Return whether an object is of one of these classes of scikit-learn's, and of no subclass."""
    kind = type(loaded)
    return kind.__name__ in names and kind.__module__.startswith("sklearn.")


def _plain(values: Any) -> list[Any]:
    """Return arrays, sparse matrices and sequences as lists of Python's own values."""
    if hasattr(values, "toarray"):
        values = values.toarray()
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(plain, list):
        raise ModelLoadError("it answers one value for a list of inputs; a value for each is needed")
    return plain


def _rows(values: Sequence[Any]) -> list[list[float]]:
    return [[float(entry) for entry in (value if isinstance(value, list) else [value])] for value in values]


def _classes_of(loaded: Any) -> list[Any] | None:
    classes = getattr(loaded, "classes_", None)
    if classes is None:
        return None
    plain = _plain(classes)
    if any(isinstance(value, list) or hasattr(value, "tolist") for value in plain):
        raise ModelLoadError(
            "it answers several questions at once (classes_ is a list of lists); one is what is served"
        )
    return plain


def _name(value: Any, classes: Sequence[Any], is_text: bool) -> str:
    if is_text and not isinstance(value, str) and set(classes) in _SIGNS:
        return "positive" if value == 1 else "negative"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
