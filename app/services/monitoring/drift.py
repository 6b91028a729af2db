"""Has what arrives moved away from the reference profile? The population stability index over a rolling window.

For a window of ``n`` predictions that does not differ from a reference of ``m`` texts, the index over ``B`` bins is
about chi-square with ``B - 1`` degrees of freedom, times ``1/n + 1/m`` (Yurdakul and Naranjo 2020, Journal of Risk
Model Validation 14(4)). So a small window or a small reference raises the threshold by itself, and one constant, the
chance of a false alarm, serves all signals. It was chosen on training texts; docs/monitoring.md has the measured share.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEAST_INDEX = 0.1
"""Below this an index is called no change in practice, however surely it is one."""

_NORMAL_QUANTILE = 3.719
"""Of 1 - 1e-4: the chance of a false alarm of one signal in one window."""
_PSEUDO_COUNT = 0.5
_LEAST_SHARE = 0.04
"""Neighbouring bins are joined until each holds this share of the reference, so that a window can say something."""
_CLEARED = 0.75
"""A signal that has drifted is taken back below this share of the threshold, so that it does not flap."""

NUMERIC = ("confidence", "tokens", "unknown_share", "familiar_pairs")
CATEGORICAL = ("label", "language")
SIGNALS = (*CATEGORICAL, *NUMERIC)
"""What drift is looked for in, where the reference knows it and the model's rows tell it."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of the reference profile.

    Attributes:
        name: which.
        bins: how each bin is called: a category, or the lower edge and up.
        shares: of the reference by bin; they sum to 1.
        rows: how many texts the reference was made from.
        edges: lower edges of the bins of numbers after the first; empty for categories.
    """

    name: str
    bins: tuple[str, ...]
    shares: tuple[float, ...]
    rows: int
    edges: tuple[float, ...] = ()

    def bin_of(self, value: Any) -> int:
        """Return the bin of a value; a category that the reference does not know falls into the last one."""
        if isinstance(value, str):
            try:
                return self.bins.index(value)
            except ValueError:
                return len(self.bins) - 1
        return bisect_right(self.edges, value)


def signals_of(reference: dict[str, Any]) -> tuple[Signal, ...]:
    """Return the signals of a manifest's ``reference``; what it lacks or what makes no sense is left out."""
    rows = reference.get("rows")
    if not isinstance(rows, int) or rows < 1:
        return ()
    found = []
    for name in SIGNALS:
        profile = reference.get(name)
        if not isinstance(profile, dict):
            continue
        signal = _categorical(name, profile, rows) if name in CATEGORICAL else _numeric(name, profile, rows)
        if signal is not None:
            found.append(signal)
    return tuple(found)


def stability_index(reference: Sequence[float], reference_rows: int, counts: Sequence[int]) -> float:
    """Return the population stability index of `counts` by bin against shares of the reference.

    Half a text is added to each bin of both, so that an empty one does not make it infinite.
    """
    bins, total = len(counts), sum(counts)
    index = 0.0
    for share, count in zip(reference, counts, strict=True):
        expected = (share * reference_rows + _PSEUDO_COUNT) / (reference_rows + _PSEUDO_COUNT * bins)
        seen = (count + _PSEUDO_COUNT) / (total + _PSEUDO_COUNT * bins)
        index += (seen - expected) * math.log(seen / expected)
    return index


def threshold(bins: int, rows: int, reference_rows: int) -> float:
    """Return the index that a window of `rows` without drift stays below, but for one in ten thousand.

    The quantile of chi-square is Wilson and Hilferty's approximation (1931).
    """
    freedom = bins - 1
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _NORMAL_QUANTILE * math.sqrt(spread)) ** 3
    return max(LEAST_INDEX, quantile * (1 / rows + 1 / reference_rows))


@dataclass(frozen=True, slots=True)
class Drift:
    """What the window says about one signal.

    Attributes:
        signal: which.
        rows: predictions in the window.
        index: the population stability index; None below the smallest sample.
        threshold: what the index is held to.
        drifted: whether it is over the threshold, or was and has not clearly come back.
        counts: of the window by bin.
    """

    signal: Signal
    rows: int
    index: float | None
    threshold: float | None
    drifted: bool
    counts: tuple[int, ...]

    def summary(self) -> dict[str, Any]:
        """Return it as JSON, with the shares of reference and window in each bin."""
        return {
            "signal": self.signal.name,
            "rows": self.rows,
            "index": None if self.index is None else round(self.index, 4),
            "threshold": None if self.threshold is None else round(self.threshold, 4),
            "drifted": self.drifted,
            "bins": list(self.signal.bins),
            "reference": [round(share, 4) for share in self.signal.shares],
            "window": [round(count / self.rows, 4) if self.rows else 0 for count in self.counts],
        }


class DriftWatch:
    """The last predictions against the reference, signal by signal."""

    def __init__(self, signals: Sequence[Signal], window: int, minimum: int) -> None:
        """Watch `signals` over the last `window` values of each; say nothing before there are `minimum`."""
        self._minimum = min(minimum, window)
        self._window = window
        self._signals = tuple(signals)
        self._seen: dict[str, deque[int]] = {signal.name: deque() for signal in signals}
        self._counts: dict[str, list[int]] = {signal.name: [0] * len(signal.bins) for signal in signals}
        self._drifted: dict[str, bool] = dict.fromkeys(self._seen, False)

    def add(self, values: dict[str, Any]) -> None:
        """Take what one prediction tells: values by the signals' names; what it lacks is left out."""
        for signal in self._signals:
            value = values.get(signal.name)
            if value is None:
                continue
            seen, counts = self._seen[signal.name], self._counts[signal.name]
            chosen = signal.bin_of(value)
            seen.append(chosen)
            counts[chosen] += 1
            if len(seen) > self._window:
                counts[seen.popleft()] -= 1

    def check(self) -> list[Drift]:
        """Compare the window with the reference, and return what it says of each signal."""
        return [self._check(signal) for signal in self._signals]

    def _check(self, signal: Signal) -> Drift:
        counts, rows = self._counts[signal.name], len(self._seen[signal.name])
        if rows < self._minimum:
            return Drift(signal, rows, None, None, self._drifted[signal.name], tuple(counts))
        index = stability_index(signal.shares, signal.rows, counts)
        limit = threshold(len(counts), rows, signal.rows)
        held_to = limit * _CLEARED if self._drifted[signal.name] else limit
        self._drifted[signal.name] = index > held_to
        return Drift(signal, rows, index, limit, self._drifted[signal.name], tuple(counts))


def _categorical(name: str, profile: dict[str, Any], rows: int) -> Signal | None:
    shares = {
        str(key): value for key, value in profile.items() if isinstance(value, (int, float)) and value >= 0
    }
    total = sum(shares.values())
    if not total:
        return None
    kept = {key: value / total for key, value in shares.items() if value / total >= _LEAST_SHARE}
    if name == "label":
        # Every label is a bin of its own, but one is needed for what no reference text was called.
        kept = {key: value / total for key, value in shares.items()}
        if len(kept) < 2:
            kept["other"] = 0.0
    else:
        kept["other"] = max(0.0, 1 - sum(kept.values()))
    return Signal(name, tuple(kept), tuple(kept.values()), rows)


def _numeric(name: str, profile: dict[str, Any], rows: int) -> Signal | None:
    edges, shares = profile.get("edges"), profile.get("shares")
    if (
        not isinstance(edges, list)
        or not isinstance(shares, list)
        or len(edges) != len(shares)
        or len(edges) < 2
    ):
        return None
    if not all(isinstance(value, (int, float)) for value in (*edges, *shares)) or not sum(shares):
        return None
    if list(edges) != sorted(set(edges)):
        return None
    starts, joined = [float(edges[0])], [float(shares[0])]
    for edge, share in zip(edges[1:], shares[1:], strict=True):
        if joined[-1] < _LEAST_SHARE:
            joined[-1] += share
        else:
            starts.append(float(edge))
            joined.append(float(share))
    if len(joined) > 2 and joined[-1] < _LEAST_SHARE:
        last = joined.pop()
        starts.pop()
        joined[-1] += last
    if len(joined) < 2:
        return None
    total = sum(joined)
    return Signal(
        name,
        tuple(f"{start:g}" for start in starts),
        tuple(share / total for share in joined),
        rows,
        tuple(starts[1:]),
    )
