"""What one row of the inference log tells a monitor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.services.monitoring.language import UNKNOWN, guess_language

_CONFIDENCE = "confidence_"


@dataclass(frozen=True, slots=True)
class Observation:
    """One prediction, as far as its model describes it; None is what it does not tell.

    Attributes:
        label: the predicted class.
        confidence: the probability of it.
        characters: of the text.
        tokens: of the text, special ones not counted.
        unknown_tokens: of them.
        familiar_pairs: share of neighbouring tokens that are common in the training texts.
        language: a guess.
        truncated: whether a part of the text was not read.
        queue_ms: milliseconds in line.
        inference_ms: milliseconds in the model.
        batch_size: predictions that were made together.
    """

    label: str | None
    confidence: float | None
    characters: int | None
    tokens: int | None
    unknown_tokens: int | None
    familiar_pairs: float | None
    language: str | None
    truncated: bool
    queue_ms: float
    inference_ms: float
    batch_size: int

    def signals(self) -> dict[str, Any]:
        """Return the values by the names of the drift signals."""
        unknown = self.unknown_tokens
        return {
            "label": self.label,
            # Short texts have no little word to tell by: that would be length once more.
            "language": None if self.language == UNKNOWN else self.language,
            "confidence": self.confidence,
            "tokens": self.tokens,
            "unknown_share": None if unknown is None or not self.tokens else unknown / self.tokens,
            "familiar_pairs": self.familiar_pairs,
        }


def answer_of(row: Mapping[Any, Any]) -> tuple[str | None, float | None]:
    """Return the predicted label and its probability, as far as a row tells them."""
    label: str | None = None
    confidence: float | None = None
    for name, value in row.items():
        if isinstance(name, str) and name.startswith(_CONFIDENCE):
            found = _number(value)
            if found is not None and (confidence is None or found > confidence):
                label, confidence = name.removeprefix(_CONFIDENCE), found
    if label is None:
        given = row.get("label", row.get("sentiment"))
        label = given.lower() if isinstance(given, str) else None
    return label, confidence


def observe(row: dict[str, Any]) -> Observation:
    """Read a row of the inference log, whatever model class wrote it."""
    label, confidence = answer_of(row)
    text = row.get("text")
    return Observation(
        label=label,
        confidence=confidence,
        characters=_whole(row.get("characters")),
        tokens=_whole(row.get("tokens")),
        unknown_tokens=_whole(row.get("unknown_tokens")),
        familiar_pairs=_number(row.get("familiar_pairs")),
        language=guess_language(text) if isinstance(text, str) else None,
        truncated=row.get("truncated") is True,
        queue_ms=_number(row.get("queue_ms")) or 0.0,
        inference_ms=_number(row.get("inference_ms")) or 0.0,
        batch_size=_whole(row.get("batch_size")) or 1,
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)
