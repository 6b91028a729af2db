"""Windows by time: one a minute, kept for some hours, cheap to add to and to read."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from app.services.monitoring.observation import Observation

WINDOW_SECONDS = 60
KEPT_WINDOWS = 360
_GROWTH = 1.1
_FIRST_MS = 0.1
_BOUNDS = tuple(_FIRST_MS * _GROWTH**step for step in range(150))
"""Upper bounds of the bins of durations, 0.1 ms to 147 s, each 10 % over the last: so exact is a quantile."""
_MOST_NAMES = 50
_OTHER = "other"


class Durations:
    """Durations in milliseconds as counts by bin, which can be added up."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        """Start empty."""
        self._counts: Counter[int] = Counter()
        self.total = 0

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(_BOUNDS, milliseconds)] += 1
        self.total += 1

    def update(self, other: "Durations") -> None:
        """Add another window's."""
        self._counts.update(other._counts)
        self.total += other.total

    def quantile(self, share: float) -> float | None:
        """Return the upper bound of the bin that holds the quantile, in milliseconds; None without durations."""
        if not self.total:
            return None
        wanted, seen = share * self.total, 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return round(_BOUNDS[min(index, len(_BOUNDS) - 1)], 2)
        return None

    def quantiles(self) -> dict[str, float | None]:
        """Return p50, p95 and p99, in milliseconds."""
        return {"p50": self.quantile(0.50), "p95": self.quantile(0.95), "p99": self.quantile(0.99)}


class Window:
    """What happened in one span of time.

    Attributes:
        start: seconds since the epoch.
        predictions: that were answered.
        requests: for predictions, answered or not.
        failures: of them by fault of the server (5xx).
    """

    def __init__(self, start: float) -> None:
        """Start empty."""
        self.start = start
        self.predictions = self.requests = self.failures = 0
        self.labels: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latency, self.queue, self.inference = Durations(), Durations(), Durations()
        self._sums: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def add(self, seen: Observation) -> None:
        """Count a prediction."""
        self.predictions += 1
        if seen.label is not None:
            count_bounded(self.labels, seen.label)
        if seen.language is not None:
            self.languages[seen.language] += 1
        self.queue.add(seen.queue_ms)
        self.inference.add(seen.inference_ms)
        for name, value in (
            ("confidence", seen.confidence),
            ("characters", seen.characters),
            ("tokens", seen.tokens),
            ("unknown_tokens", seen.unknown_tokens),
            ("familiar_pairs", seen.familiar_pairs),
            ("truncated", int(seen.truncated)),
            ("batch_size", seen.batch_size),
        ):
            if value is not None:
                self._sums[name] += value  # type: ignore[assignment]  # typeshed's Counter holds whole numbers only
                self._counts[name] += 1

    def add_request(self, status: int, milliseconds: float) -> None:
        """Count a request for a prediction."""
        self.requests += 1
        self.failures += status >= 500
        self.latency.add(milliseconds)

    def update(self, other: "Window") -> None:
        """Add another window's counts."""
        self.predictions += other.predictions
        self.requests += other.requests
        self.failures += other.failures
        for name in ("labels", "languages", "errors", "latency", "queue", "inference", "_sums", "_counts"):
            getattr(self, name).update(getattr(other, name))

    def mean(self, name: str) -> float | None:
        """Return the mean of what predictions told under this name."""
        return round(self._sums[name] / self._counts[name], 4) if self._counts[name] else None

    def unknown_share(self) -> float | None:
        """Return the share of tokens that the vocabulary does not know."""
        if not self._counts["unknown_tokens"] or not self._sums["tokens"]:
            return None
        return round(self._sums["unknown_tokens"] / self._sums["tokens"], 6)

    def shares(self, counts: Counter[str]) -> dict[str, float]:
        """Return counts as shares, largest first."""
        total = sum(counts.values())
        return {name: round(count / total, 4) for name, count in counts.most_common()}

    def summary(self) -> dict[str, Any]:
        """Return the window as JSON; None is what no prediction told."""
        return {
            "start": self.start,
            "predictions": self.predictions,
            "requests": self.requests,
            "failures": self.failures,
            "errors": dict(self.errors),
            "labels": self.shares(self.labels),
            "languages": self.shares(self.languages),
            "confidence": self.mean("confidence"),
            "characters": self.mean("characters"),
            "tokens": self.mean("tokens"),
            "familiar_pairs": self.mean("familiar_pairs"),
            "unknown_share": self.unknown_share(),
            "truncated_share": self.mean("truncated"),
            "batch_size": self.mean("batch_size"),
            "latency_ms": self.latency.quantiles(),
            "queue_ms": self.queue.quantiles(),
            "inference_ms": self.inference.quantiles(),
        }


class Timeline:
    """The windows of the last hours. Idle minutes have none."""

    def __init__(self) -> None:
        """Start empty."""
        self._windows: deque[Window] = deque(maxlen=KEPT_WINDOWS)

    def at(self, time: float) -> Window:
        """Return the window of a time, in seconds since the epoch; a clock that was set back changes nothing."""
        start = time - time % WINDOW_SECONDS
        if not self._windows or self._windows[-1].start < start:
            self._windows.append(Window(start))
        return self._windows[-1]

    def since(self, time: float) -> list[Window]:
        """Return the windows that begin at or after a time."""
        return [window for window in self._windows if window.start >= time]

    def last(self, now: float, seconds: float) -> Window:
        """Return the windows of the last `seconds`, added up."""
        return merged(self.since(now - now % WINDOW_SECONDS - seconds + WINDOW_SECONDS), now)


def merged(windows: Iterable[Window], start: float) -> Window:
    """Return windows added up."""
    whole = Window(start)
    for window in windows:
        whole.update(window)
    return whole


def count_bounded(counts: Counter[str], name: str) -> str:
    """Count a name; past the first 50 it is counted, and returned, as ``other``."""
    if name not in counts and len(counts) >= _MOST_NAMES:
        name = _OTHER
    counts[name] += 1
    return name
