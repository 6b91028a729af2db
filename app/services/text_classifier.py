"""What every loader of a text classifier shares: from a request to windows, from logits to a reply."""

import math
import re
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from loguru import logger
from pydantic import BaseModel

from app.core.errors import InvalidInputError, ModelLoadError, PredictionFailedError
from app.models.prediction import TextReply, TextRequest
from app.services.familiarity import PairFilter, filter_of
from app.services.outputs import softmax
from app.services.predictor import LoadContext, Predictor
from app.services.text import EncodedText, TextEncoder, average_windows, clean
from app.services.tokenizer_file import check_tokenizer

SMOKE_TEXT = "A warm, funny and beautifully acted film."
TOKENIZER_NAME = "tokenizer.json"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Classification:
    """What a model says of one text.

    Attributes:
        label: the likeliest class.
        confidences: a calibrated probability for each label, in the order of the outputs; empty for a model that
            gives none.
        tokens: of the whole text, special ones not counted; words for a model without a tokenizer of its own.
        windows: pieces that the text was read in.
        truncated: whether some of it was left out.
        unknown: how many tokens the vocabulary does not know; None where there is no telling.
        familiar: share of neighbouring tokens that are common in the training texts; None where there is no telling.
    """

    label: str
    confidences: dict[str, float]
    tokens: int
    windows: int = 1
    truncated: bool = False
    unknown: int | None = None
    familiar: float | None = None


class TextClassifier(Predictor):
    """Takes one text or several, answers labels with confidences. Subclasses say how a text is predicted."""

    Request: ClassVar[type[BaseModel]] = TextRequest
    Response: ClassVar[type[BaseModel]] = TextReply

    def split(self, request: Any) -> list[Any]:
        """Return the texts of a request."""
        items: list[Any] = request.items
        return items

    def join(self, request: Any, items: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
        """Return one prediction, or a list of them where a list was asked."""
        predictions = [_reply(text, output) for text, output in zip(items, outputs, strict=True)]
        return predictions[0] if request.text is not None else {"predictions": predictions}

    def row(self, item: Any, output: Any) -> dict[str, Any]:
        """Return sentiment, a column for each confidence, the text and its counts."""
        confidences = {f"confidence_{label}": value for label, value in output.confidences.items()}
        known = {"unknown_tokens": output.unknown, "familiar_pairs": output.familiar}
        return {
            "sentiment": sentiment(output.label),
            **confidences,
            "text": item,
            "characters": len(item),
            "tokens": output.tokens,
            "windows": output.windows,
            "truncated": output.truncated,
            **{name: value for name, value in known.items() if value is not None},
        }

    def smoke_item(self) -> Any | None:
        """Return a sentence of our own."""
        return SMOKE_TEXT


class WindowClassifier(TextClassifier):
    """Reads texts as windows of token ids; subclasses give the logits of windows."""

    familiar: PairFilter | None = None
    """Knows the common pairs of the training texts, for the monitor; None where the artifact brings none."""

    def __init__(self, encoder: TextEncoder, labels: tuple[str, ...], temperature: float) -> None:
        """Keep what turns texts into windows and logits into confidences."""
        self.encoder = encoder
        self.labels = labels
        self.temperature = temperature

    @abstractmethod
    def logits(self, window: Sequence[int]) -> list[float]:
        """Return one number for each label of a window of token ids, special ones included.

        A window is computed alone: with dynamic int8 scales a row would depend on its neighbours. One at a time is
        also the fastest for longer texts on a CPU, since nothing is padded to the longest.
        """

    def logits_together(self, windows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the logits of windows of one length; to a digit what `logits` says of each."""
        return [self.logits(window) for window in windows]

    def use_reference(self, reference: dict[str, Any]) -> None:
        """Take the common pairs of the training texts, if the artifact brings them."""
        try:
            self.familiar = filter_of(reference)
        except ValueError as error:
            logger.warning("familiar pairs are not measured: {}", error)

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        """Clean, tokenize and window the texts.

        Raises:
            InvalidInputError: nothing is left of a text.
        """
        encoded = self.encoder.encode(items)
        if not all(text.tokens for text in encoded):
            refuse_blank(items)
        return list(encoded)

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        """Classify encoded texts, each by itself; texts of one window of one length may be computed together.

        Raises:
            PredictionFailedError: the model gave logits that are not finite.
        """
        if len(batch) > 1 and len({self.group(text) for text in batch}) == 1 and len(batch[0].windows) == 1:
            rows = self.logits_together([text.windows[0] for text in batch])
            return [self._classify(text, row) for text, row in zip(batch, rows, strict=True)]
        return [
            self._classify(text, average_windows([self.logits(window) for window in text.windows]))
            for text in batch
        ]

    def group(self, prepared: Any) -> Hashable:
        """Return the length of a text of one window, and of others the length of each: nothing is padded."""
        return tuple(len(window) for window in prepared.windows)

    def cost(self, prepared: Any) -> int:
        """Return the tokens of all windows, special ones included."""
        return sum(len(window) for window in prepared.windows)

    def describe(self) -> dict[str, Any]:
        """Tell how texts are read."""
        policy = self.encoder.policy
        return {
            "vocabulary": self.encoder.vocabulary_size,
            "max_tokens": policy.max_tokens,
            "overlap": policy.overlap,
            "max_windows": policy.max_windows,
            "temperature": self.temperature,
        }

    def _classify(self, text: EncodedText, logits: list[float]) -> Classification:
        if not all(map(math.isfinite, logits)):
            raise PredictionFailedError("the model gave no finite number for this text")
        probabilities = softmax([value / self.temperature for value in logits])
        confidences = dict(zip(self.labels, probabilities, strict=True))
        return Classification(
            label=max(confidences, key=confidences.__getitem__),
            confidences=confidences,
            tokens=text.tokens,
            windows=len(text.windows),
            truncated=text.truncated,
            unknown=text.unknown,
            familiar=self.familiar.share(text.windows) if self.familiar else None,
        )


@dataclass(frozen=True, slots=True)
class WholeText:
    """A text for a model that does its own reading.

    Attributes:
        text: as it was sent, since the model was trained on what its own preprocessing makes of raw texts; half
            surrogates are U+FFFD.
        words: parts between white space after cleaning.
    """

    text: str
    words: int


class WholeTextClassifier(TextClassifier):
    """Hands whole texts to a model that has its own preprocessing; subclasses give label and confidences."""

    @abstractmethod
    def answer(self, texts: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
        """Return label and confidences of each text.

        Raises:
            PredictionFailedError: the model gave a number that is not finite.
        """

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        """Check the texts.

        Raises:
            InvalidInputError: nothing is left of a text when it is cleaned.
        """
        cleaned = refuse_blank(items)
        return [
            WholeText(_SURROGATE.sub("\ufffd", text), len(words.split()))
            for text, words in zip(items, cleaned, strict=True)
        ]

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        """Classify the texts."""
        answers = self.answer([prepared.text for prepared in batch])
        return [
            Classification(label, confidences, tokens=prepared.words)
            for prepared, (label, confidences) in zip(batch, answers, strict=True)
        ]


def sentiment(label: str) -> str:
    """Return a label as replies show it: with a capital first letter."""
    return label[:1].upper() + label[1:]


def refuse_blank(items: Sequence[str]) -> list[str]:
    """Return cleaned texts; those of which nothing is left are refused, whatever the model.

    Raises:
        InvalidInputError: says which.
    """
    cleaned = [clean(text) for text in items]
    for position, text in enumerate(cleaned):
        if not text:
            raise InvalidInputError("the text is blank", position if len(items) > 1 else None)
    return cleaned


def load_encoder(folder: Path, context: LoadContext, config: dict[str, Any]) -> TextEncoder:
    """Read ``tokenizer.json`` and hold it and the window policy to what the model's `config` allows.

    Raises:
        ModelLoadError: the file is missing or no tokenizer, or windows or vocabulary are larger than the model's.
    """
    policy = context.manifest.preprocessing.windows()
    try:
        if (folder / TOKENIZER_NAME).is_file():
            check_tokenizer(folder / TOKENIZER_NAME)
        encoder = TextEncoder.from_file(folder / TOKENIZER_NAME, policy)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error
    check_encoder(encoder, config)
    return encoder


def check_encoder(encoder: TextEncoder, config: dict[str, Any]) -> None:
    """Hold windows and vocabulary to the limits that the model's `config` names, if it names any.

    Raises:
        ModelLoadError: a window or a token id would be outside the model's tables.
    """
    positions, vocabulary = config.get("max_position_embeddings"), config.get("vocab_size")
    if isinstance(positions, int) and encoder.policy.max_tokens > positions:
        raise ModelLoadError(
            f"windows of {encoder.policy.max_tokens} tokens do not fit the model's {positions} positions: "
            "set preprocessing.max_tokens in marquee.json"
        )
    if isinstance(vocabulary, int) and encoder.vocabulary_size > vocabulary:
        raise ModelLoadError(
            f"the tokenizer knows {encoder.vocabulary_size} tokens and the model {vocabulary}: "
            "they are not of the same model"
        )


def _reply(text: str, output: Classification) -> dict[str, Any]:
    return {
        "text": text,
        "sentiment": sentiment(output.label),
        "confidences": output.confidences,
        "tokens": output.tokens,
        "windows": output.windows,
        "truncated": output.truncated,
    }
