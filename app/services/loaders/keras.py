"""Keras models: ``.keras``, ``.h5`` and SavedModel folders, for texts, token ids or rows of numbers."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.core.errors import ModelLoadError, PredictionFailedError
from app.core.tensorflow_runtime import import_tensorflow
from app.services.loaders.keras_files import OpenModel, open_model
from app.services.outputs import Meaning, choose_labels, meaning_of, probabilities
from app.services.predictor import LoadContext, Predictor
from app.services.tabular import TabularOutput, TabularPredictor, finite
from app.services.text import TextEncoder
from app.services.text_classifier import (
    SMOKE_TEXT,
    TOKENIZER_NAME,
    WholeTextClassifier,
    WindowClassifier,
    load_encoder,
)

_BINARY = ("negative", "positive")
_MOST_ROWS = 64
_MORE_TEXTS = ("Dull, slow and far too long.", "The film was shown on Monday.")


class Outputs:
    """Calls a model through one traced function and reads its answers as rows of numbers."""

    def __init__(self, model: OpenModel, method: str, signature: Any) -> None:
        """Trace the model for inputs of `signature`; a method of another name than ``predict`` is called as it is.

        Raises:
            ModelLoadError: there is no such method.
        """
        self._tensorflow = import_tensorflow()
        self._dtype = signature.dtype
        self.method = method
        self.function: Any = None
        self._call: Callable[[Any], Any]
        if method == "predict":
            # Keras' own predict() builds a data pipeline for each call.
            self.function = self._tensorflow.function(model.call, input_signature=[signature])
            self._call = self.function.get_concrete_function()
            return
        found = getattr(model.loaded, method, None)
        if not callable(found):
            raise ModelLoadError(f"the model has no method {method!r} (PREDICT_METHOD)")
        self._call = found

    def rows(self, values: Any) -> list[list[float]]:
        """Return the outputs for a batch: shape ``(n, k)``, or ``(n, 1)`` for a model that answers ``(n,)``.

        Raises:
            ModelLoadError: the output is of another shape, or is a mapping without ``logits``.
        """
        found = self._call(self._tensorflow.constant(values, dtype=self._dtype))
        if isinstance(found, (list, tuple)) and len(found) == 1:
            found = found[0]
        if isinstance(found, dict):
            if "logits" not in found and len(found) != 1:
                raise ModelLoadError(f"none of the model's outputs ({', '.join(found)}) is called logits")
            found = found.get("logits", next(iter(found.values())))
        shape = tuple(getattr(found, "shape", ()))
        if len(shape) not in (1, 2) or shape[0] != len(values):
            raise ModelLoadError(
                f"the output has the shape {shape} for {len(values)} inputs; (n,), (n, 1) or (n, labels) is what is "
                "served"
            )
        plain: list[Any] = self._tensorflow.convert_to_tensor(found).numpy().tolist()
        return [[float(value) for value in (row if isinstance(row, list) else [row])] for row in plain]


class KerasPredictor:
    """What the three kinds of Keras models have in common; `load` finds out which one it is."""

    model: OpenModel
    outputs: Outputs
    meaning: Meaning | None
    warnings: list[str]

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Predictor:
        """Read the model and find out what it takes and gives.

        Raises:
            ModelLoadError: it cannot be read, takes what is not served, or its outputs or labels don't fit.
            ImportError: TensorFlow is not installed.
        """
        model = open_model(path, context.threads, context.max_bytes)
        folder = path if path.is_dir() else path.parent
        if model.dtype == "string":
            return KerasTexts(model, context)
        is_text = context.manifest.task == "text-classification" or model.embeds
        if is_text and len(model.shape) == 1 and (folder / TOKENIZER_NAME).is_file():
            return KerasWindows(model, context, load_encoder(folder, context, _limits(model)))
        if is_text or model.dtype.startswith("int"):
            raise ModelLoadError(
                f"the model takes numbers for tokens and there is no {TOKENIZER_NAME} beside it: add the one that it "
                "was trained with, or put a TextVectorization layer in front"
            )
        if len(model.shape) == 1 and model.shape[0] is not None:
            return KerasRows(model, context)
        raise ModelLoadError(
            f"the model takes {model.dtype} of the shape {model.shape}; texts, token ids or a known number of features "
            "are served; others need a class of one's own (MODEL_LOADER=package.module:Class)"
        )

    def describe(self) -> dict[str, Any]:
        """Tell the file's format, the library, how outputs are read, and how often it was traced: once."""
        function = self.outputs.function
        return {
            "runtime": self.model.version,
            "device": "cpu",
            "format": self.model.format,
            "method": self.outputs.method,
            "outputs": str(self.meaning) if self.meaning else "a value",
            "traces": function.experimental_get_tracing_count() if function else None,
            "warnings": self.warnings,
        }

    def _settle(
        self, context: LoadContext, samples: Sequence[Any], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Find out what outputs mean, each sample asked alone, and return the labels."""
        rows = [row for sample in samples for row in self.outputs.rows(sample)]
        self.meaning = meaning_of(rows, self.model.activation)
        count = 2 if len(rows[0]) == 1 else len(rows[0])
        declared = context.manifest.labels
        self.warnings = []
        if not declared and count == len(names):
            self.warnings.append(f"no labels were given: the outputs are called {', '.join(names)}")
            declared = names
        return choose_labels(declared, {}, count)


class KerasTexts(KerasPredictor, WholeTextClassifier):
    """A model that takes strings, since it holds its own TextVectorization. One text at a time: it pads a batch to
    its longest text, so a row would depend on its neighbours.
    """

    def __init__(self, model: OpenModel, context: LoadContext) -> None:
        """Trace the model and settle what its outputs mean."""
        tensorflow = import_tensorflow()
        self.model = model
        self._nested = len(model.shape) == 1
        signature = tensorflow.TensorSpec((1, 1) if self._nested else (1,), tensorflow.string)
        self.outputs = Outputs(model, context.predict_method, signature)
        self._temperature = context.manifest.temperature
        samples = [self._input(text) for text in (SMOKE_TEXT, *_MORE_TEXTS)]
        self.labels = self._settle(context, samples, _BINARY)

    def answer(self, texts: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
        """Ask about each text alone."""
        answers = []
        for text in texts:
            (row,) = self.outputs.rows(self._input(text))
            confidences = _confidences(self.labels, row, self.meaning, self._temperature)
            answers.append((max(confidences, key=confidences.__getitem__), confidences))
        return answers

    def _input(self, text: str) -> list[Any]:
        return [[text]] if self._nested else [text]


class KerasWindows(KerasPredictor, WindowClassifier):
    """A model that takes token ids, read by the ``tokenizer.json`` beside it."""

    def __init__(self, model: OpenModel, context: LoadContext, encoder: TextEncoder) -> None:
        """Trace the model and settle what its outputs mean."""
        tensorflow = import_tensorflow()
        WindowClassifier.__init__(self, encoder, (), context.manifest.temperature)
        self.model = model
        self._length = model.shape[0]
        signature = tensorflow.TensorSpec((1, self._length), tensorflow.as_dtype(model.dtype))
        self.outputs = Outputs(model, context.predict_method, signature)
        texts = encoder.encode((SMOKE_TEXT, *_MORE_TEXTS))
        samples = [self._input(window) for text in texts for window in text.windows]
        self.labels = self._settle(context, samples, _BINARY)

    def logits(self, window: Sequence[int]) -> list[float]:
        """Return logits; where the model gives probabilities, their logarithms."""
        (row,) = self.outputs.rows(self._input(window))
        return _logits(row, self.meaning)

    def describe(self) -> dict[str, Any]:
        """Tell how texts are read, too."""
        return {**WindowClassifier.describe(self), **KerasPredictor.describe(self)}

    def _input(self, window: Sequence[int]) -> list[Any]:
        padding = max(0, (self._length or 0) - len(window))
        return [[*window, *[self.encoder.pad_id] * padding]]


class KerasRows(KerasPredictor, TabularPredictor):
    """A model that takes rows of numbers; a single linear output without labels is a regressor's."""

    batch_cost = _MOST_ROWS

    def __init__(self, model: OpenModel, context: LoadContext) -> None:
        """Trace the model and settle what its outputs mean."""
        tensorflow = import_tensorflow()
        self.model = model
        self.features = int(model.shape[0] or 0)
        signature = tensorflow.TensorSpec((None, self.features), tensorflow.as_dtype(model.dtype))
        self.outputs = Outputs(model, context.predict_method, signature)
        self._temperature = context.manifest.temperature
        samples = [[[value] * self.features] for value in (0.0, 1.0, -1.0)]
        is_classifier = bool(context.manifest.labels) or context.manifest.task == "tabular-classification"
        single = len(self.outputs.rows(samples[0])[0]) == 1
        if single and not is_classifier and model.activation != "sigmoid":
            self.meaning, self.warnings = None, []
        else:
            self.labels = self._settle(context, samples, ("0", "1"))

    def answer(self, rows: Sequence[Sequence[float]]) -> list[TabularOutput]:
        """Ask about all rows at once."""
        answers = []
        for row in self.outputs.rows(list(rows)):
            if not finite(row):
                raise PredictionFailedError("the model gave no finite number for this input")
            if self.meaning is None:
                answers.append(TabularOutput(None, {}, row[0]))
                continue
            confidences = _confidences(self.labels, row, self.meaning, self._temperature)
            answers.append(TabularOutput(max(confidences, key=confidences.__getitem__), confidences))
        return answers


def _confidences(
    labels: Sequence[str], row: Sequence[float], meaning: Meaning | None, temperature: float
) -> dict[str, float]:
    if not finite(row):
        raise PredictionFailedError("the model gave no finite number for this input")
    return dict(zip(labels, probabilities(row, meaning or Meaning.LOGITS, temperature), strict=True))


def _logits(row: Sequence[float], meaning: Meaning | None) -> list[float]:
    """Return numbers whose softmax is what the model says."""
    if meaning is Meaning.LOGITS or not finite(row):
        return list(row) if len(row) > 1 else [0.0, row[0]]
    if meaning is Meaning.LOGIT:
        return [0.0, row[0]]
    return [math.log(max(value, 1e-12)) for value in probabilities(row, meaning or Meaning.LOGITS)]


def _limits(model: OpenModel) -> dict[str, Any]:
    """Return what a fixed input length allows, in the words of a ``config.json``."""
    length = model.shape[0]
    return {} if length is None else {"max_position_embeddings": length}
