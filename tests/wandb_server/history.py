"""Reading a run's history in the three ways that the client knows."""

import json
from typing import Any

from .records import Run

Object = dict[str, Any]


def _loads(line: str) -> Object:
    # The client writes NaN and Infinity bare; W&B answers with their names as text, as strict JSON needs.
    row: Object = json.loads(line, parse_constant=str)
    return row


def _step(line: str, index: int) -> int:
    return int(json.loads(line).get("_step", index))


def history_keys(run: Run) -> Object:
    """The metrics of a run, how often each was logged, and the last step (-1: none yet)."""
    counts: dict[str, int] = {}
    for line in run.history:
        for key in _loads(line):
            counts[key] = counts.get(key, 0) + 1
    keys = {key: {"typeCounts": [{"type": "number", "count": count}]} for key, count in counts.items()}
    return {"sets": [], "keys": keys, "lastStep": run.last_step}


def history_page(run: Run, arguments: Object) -> list[str]:
    """Rows as JSON texts, from `minStep` up to but without `maxStep`, at most `samples` of them."""
    first = int(arguments.get("minStep") or 0)
    limit = arguments.get("maxStep")
    steps = ((_step(line, index), line) for index, line in enumerate(run.history))
    lines = [line for step, line in steps if step >= first and (limit is None or step < int(limit))]
    return lines[: int(arguments.get("samples") or len(lines))]


def sampled(run: Run, spec: str | Object) -> list[Object]:
    """Rows that have all of the wanted keys, thinned out evenly to at most `samples`."""
    wanted: Object = json.loads(spec) if isinstance(spec, str) else spec
    keys = wanted.get("keys")
    first, limit = int(wanted.get("minStep") or 0), wanted.get("maxStep")
    rows = [_loads(line) for line in run.history]
    rows = [
        row for row in rows if row.get("_step", 0) >= first and (limit is None or row["_step"] < int(limit))
    ]
    if keys:
        rows = [{key: row[key] for key in keys} for row in rows if all(key in row for key in keys)]
    count = int(wanted.get("samples") or 500)
    if len(rows) <= count:
        return rows
    return [rows[index * len(rows) // count] for index in range(count)]
