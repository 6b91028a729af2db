"""Live accuracy, calibration and confusion, from the truth that feedback brings, by window and model version."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Any

BINS = 15
"""Of the confidence, as offline: the figures of `ml.metrics` and these are the same on the same answers."""
WINDOW = 500
"""Feedbacks that the rolling figures are made of."""
_MOST_VERSIONS = 20
_MOST_PAIRS = 400
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Judged:
    """A prediction and its truth.

    Attributes:
        truth: the label that feedback names.
        prediction: the label that was answered.
        confidence: of the prediction; None where the model gives none.
    """

    truth: str
    prediction: str
    confidence: float | None

    @property
    def right(self) -> bool:
        """Whether the prediction was the truth."""
        return self.truth == self.prediction


class Tally:
    """Counts of judged predictions, from which they can be taken out again."""

    def __init__(self) -> None:
        """Start empty."""
        self.rows = self.right = 0
        self.confusion: Counter[tuple[str, str]] = Counter()
        self._confident: list[list[float]] = [[0, 0, 0.0] for _ in range(BINS)]

    def add(self, judged: Judged, sign: int = 1) -> None:
        """Count one, or take it out with `sign` -1."""
        self.rows += sign
        self.right += sign * judged.right
        pair = (judged.truth, judged.prediction)
        if pair in self.confusion or len(self.confusion) < _MOST_PAIRS:
            self.confusion[pair] += sign
            if not self.confusion[pair]:
                del self.confusion[pair]
        if judged.confidence is not None:
            rows = self._confident[min(int(judged.confidence * BINS), BINS - 1)]
            rows[0] += sign
            rows[1] += sign * judged.right
            rows[2] += sign * judged.confidence

    @property
    def accuracy(self) -> float | None:
        """The share of right predictions; None without any."""
        return self.right / self.rows if self.rows else None

    @property
    def calibration_error(self) -> float | None:
        """The expected calibration error over 15 bins of equal width; None where no confidence is known."""
        rows = sum(entry[0] for entry in self._confident)
        if not rows:
            return None
        return sum(abs(confidence - right) for count, right, confidence in self._confident if count) / rows

    def interval(self) -> tuple[float, float] | None:
        """Return Wilson's 95 % interval of the accuracy; None without feedback."""
        if not self.rows:
            return None
        share, rows = self.right / self.rows, self.rows
        middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
        half = _Z * ((share * (1 - share) + _Z**2 / (4 * rows)) / rows) ** 0.5 / (1 + _Z**2 / rows)
        return max(0.0, middle - half), min(1.0, middle + half)

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        interval = self.interval()
        return {
            "rows": self.rows,
            "right": self.right,
            "accuracy": _rounded(self.accuracy),
            "interval": [_rounded(end) for end in interval] if interval else None,
            "calibration_error": _rounded(self.calibration_error),
            "confusion": [
                {"truth": truth, "prediction": prediction, "rows": rows}
                for (truth, prediction), rows in sorted(self.confusion.items())
            ],
        }


class LiveAccuracy:
    """The last feedbacks, and all of them by model version."""

    def __init__(self, window: int = WINDOW) -> None:
        """Keep the last `window` feedbacks for the rolling figures."""
        self._last: deque[Judged] = deque()
        self._size = window
        self.window = Tally()
        self.versions: OrderedDict[str, Tally] = OrderedDict()

    def add(self, judged: Judged, version: str) -> None:
        """Count one prediction of a model version; of the versions the last twenty are kept."""
        self._last.append(judged)
        self.window.add(judged)
        if len(self._last) > self._size:
            self.window.add(self._last.popleft(), -1)
        self.versions.setdefault(version, Tally()).add(judged)
        self.versions.move_to_end(version)
        if len(self.versions) > _MOST_VERSIONS:
            self.versions.popitem(last=False)

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "window": self.window.summary(),
            "versions": {version: tally.summary() for version, tally in self.versions.items()},
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
