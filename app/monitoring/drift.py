"""An offline report about drift over stored inferences: two spans of time, signal by signal.

Numbers are compared by the two-sample Kolmogorov-Smirnov test and by chi-square over their tenths, categories by
chi-square, all SciPy's; the chances are corrected for their number, over the signals by Holm's method. Since with many
rows the smallest change is sure, a signal counts as drifted only when the population stability index is at least 0.1
as well.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.monitoring.stored import MonitoringError, rows_of_files, rows_of_project, table_of
from app.services.monitoring.drift import CATEGORICAL, LEAST_INDEX, SIGNALS, stability_index

if TYPE_CHECKING:
    import pandas

LEAST_ROWS = 30
_CHANCE = 0.01
_BINS = 10


@dataclass(frozen=True, slots=True)
class Compared:
    """One signal in two spans.

    Attributes:
        signal: which.
        rows: in the earlier and in the later span.
        before: mean, or the commonest category, of the earlier span.
        after: the same of the later one.
        index: population stability index; None where there are too few rows.
        chance: that texts of one kind differ so much, corrected for the number of signals; None likewise.
        reason: why nothing can be said; None where something is.
    """

    signal: str
    rows: tuple[int, int]
    before: str
    after: str
    index: float | None
    chance: float | None
    reason: str | None = None

    @property
    def drifted(self) -> bool:
        """Whether the change is both sure and large enough to matter."""
        return (
            self.index is not None
            and self.chance is not None
            and self.index >= LEAST_INDEX
            and self.chance < _CHANCE
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        help="files of JSON lines (.jsonl, .jsonl.gz); W&B's rows where none is given",
    )
    parser.add_argument(
        "--split", help="where the later span begins, such as 2026-05-01; the middle of the rows by default"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; exit code 1 where a signal has drifted."""
    if not arguments.files and not arguments.project:
        raise MonitoringError(
            "no rows: name files of JSON lines, or a W&B project by PROJECT_NAME or --project"
        )
    rows = (
        rows_of_files(arguments.files)
        if arguments.files
        else rows_of_project(arguments.project, arguments.entity)
    )
    before, after = split(table_of(rows), arguments.split)
    found = compare(before, after)
    print(as_json(found) if arguments.json else as_table(found))  # noqa: T201
    return int(any(entry.drifted for entry in found))


def split(table: "pandas.DataFrame", at: str | None) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Cut predictions into an earlier and a later span.

    Raises:
        MonitoringError: there are none, or `at` is no time.
    """
    import pandas

    if not len(table):
        raise MonitoringError("there are no predictions in these rows")
    if at is None:
        middle = len(table) // 2
        return table.iloc[:middle], table.iloc[middle:]
    try:
        time = pandas.to_datetime(at, utc=True)
    except ValueError as error:
        raise MonitoringError(f"--split: {at[:40]!r} is no time such as 2026-05-01") from error
    return table[table["time"] < time], table[table["time"] >= time]


def compare(before: "pandas.DataFrame", after: "pandas.DataFrame") -> list[Compared]:
    """Compare two tables of predictions in every signal."""
    found = [_compare(signal, before, after) for signal in SIGNALS]
    return _corrected(found)


def as_table(found: list[Compared]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        "| signal | rows before, after | before | after | stability index | chance | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for entry in found:
        index = "" if entry.index is None else f"{entry.index:.3f}"
        chance = "" if entry.chance is None else f"{entry.chance:.2g}"
        verdict = "**drifted**" if entry.drifted else entry.reason or ""
        lines.append(
            f"| {entry.signal} | {entry.rows[0]:,}, {entry.rows[1]:,} | {entry.before} | {entry.after} "
            f"| {index} | {chance} | {verdict} |"
        )
    return "\n".join(lines)


def as_json(found: list[Compared]) -> str:
    """Return the report as JSON; what cannot be said is null, with a reason."""
    return json.dumps(
        [
            {
                "signal": entry.signal,
                "rows": list(entry.rows),
                "before": entry.before,
                "after": entry.after,
                "index": entry.index,
                "chance": entry.chance,
                "drifted": entry.drifted,
                "reason": entry.reason,
            }
            for entry in found
        ],
        indent=2,
        allow_nan=False,
    )


def _compare(signal: str, before: "pandas.DataFrame", after: "pandas.DataFrame") -> Compared:
    one, other = (
        table[signal].dropna() if signal in table else table.iloc[:0].index.to_series()
        for table in (before, after)
    )
    rows = (len(one), len(other))
    if min(rows) < LEAST_ROWS:
        reason = "not logged by this model" if not any(rows) else f"fewer than {LEAST_ROWS} rows"
        return Compared(signal, rows, "", "", None, None, reason)
    compared = _categories if signal in CATEGORICAL else _numbers
    return compared(signal, one, other)


def _numbers(signal: str, one: Any, other: Any) -> Compared:
    import numpy
    from scipy.stats import chi2_contingency, ks_2samp

    first, second = one.to_numpy(dtype=float), other.to_numpy(dtype=float)
    edges = numpy.unique(numpy.quantile(first, numpy.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = [
        numpy.bincount(numpy.searchsorted(edges, values), minlength=len(edges) + 1).tolist()
        for values in (first, second)
    ]
    index = stability_index([count / len(first) for count in counts[0]], len(first), counts[1])
    # The first sees a shift of the whole, the second what happens in a tail only.
    chances = [float(ks_2samp(first, second).pvalue)]
    filled = [pair for pair in zip(*counts, strict=True) if any(pair)]
    if len(filled) > 1:
        chances.append(float(chi2_contingency(list(zip(*filled, strict=True))).pvalue))
    chance = min(1.0, len(chances) * min(chances))
    return Compared(
        signal, (len(first), len(second)), f"{first.mean():.4g}", f"{second.mean():.4g}", index, chance
    )


def _categories(signal: str, one: Any, other: Any) -> Compared:
    from scipy.stats import chi2_contingency

    first, second = one.value_counts(), other.value_counts()
    names = sorted({*first.index, *second.index}, key=str)
    counts = [[int(values.get(name, 0)) for name in names] for values in (first, second)]
    index = stability_index([count / len(one) for count in counts[0]], len(one), counts[1])
    chance = float(chi2_contingency(counts).pvalue) if len(names) > 1 else 1.0

    def told(values: Any) -> str:
        return f"{values.index[0]} {values.iloc[0] / values.sum():.1%}"

    return Compared(signal, (len(one), len(other)), told(first), told(second), index, chance)


def _corrected(found: list[Compared]) -> list[Compared]:
    """Correct the chances for their number (Holm 1979)."""
    ordered = sorted(
        (entry for entry in found if entry.chance is not None), key=lambda entry: entry.chance or 0
    )
    corrected: dict[str, float] = {}
    least = 0.0
    for place, entry in enumerate(ordered):
        least = max(least, min(1.0, (entry.chance or 0) * (len(ordered) - place)))
        corrected[entry.signal] = least
    return [
        Compared(
            entry.signal,
            entry.rows,
            entry.before,
            entry.after,
            entry.index,
            corrected.get(entry.signal),
            entry.reason,
        )
        for entry in found
    ]
