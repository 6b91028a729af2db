"""The run filters and orders of `wandb.Api().runs`: MongoDB's operators over the fields of a run."""

import json
import re
from collections.abc import Callable
from typing import Any

from .records import Run

_MISSING = object()

_FIELDS: dict[str, Callable[[Run], Any]] = {
    "name": lambda run: run.name,
    "displayname": lambda run: run.display_name,
    "group": lambda run: run.group,
    "jobtype": lambda run: run.job_type,
    "state": lambda run: run.state,
    "tags": lambda run: run.tags,
    "host": lambda run: run.host,
    "createdat": lambda run: run.created_at,
    "heartbeatat": lambda run: run.heartbeat_at,
}


class UnknownFilterError(ValueError):
    """A filter or order names a field or an operator that this server does not know."""


def matches(run: Run, filters: dict[str, Any]) -> bool:
    """Whether a run passes a filter such as `{"$and": [{"jobType": "training"}, {"config.seed": 1}]}`.

    Raises UnknownFilterError rather than let a misspelt filter match everything or nothing.
    """
    return all(_matches_one(run, key, wanted) for key, wanted in filters.items())


def ordered(runs: list[Run], order: str | None) -> list[Run]:
    """Runs in the order of a text such as `-created_at` or `+summary_metrics.loss`; oldest first by default.

    Runs without the value come last. Raises UnknownFilterError.
    """
    key = (order or "+created_at").lstrip("+-")
    # Seconds are too coarse to tell runs of one test apart, and the server stores runs as they come.
    if _normal(key) == "createdat":
        return list(reversed(runs)) if (order or "").startswith("-") else list(runs)
    having = [run for run in runs if _value(run, key) not in (_MISSING, None)]
    lacking = [run for run in runs if run not in having]
    return sorted(having, key=lambda run: _value(run, key), reverse=(order or "").startswith("-")) + lacking


def _matches_one(run: Run, key: str, wanted: Any) -> bool:
    if key == "$and":
        return all(matches(run, part) for part in wanted)
    if key == "$or":
        return any(matches(run, part) for part in wanted)
    if key == "$nor":
        return not any(matches(run, part) for part in wanted)
    value = _value(run, key)
    if isinstance(wanted, dict) and any(name.startswith("$") for name in wanted):
        return all(_operator(name)(value, operand) for name, operand in wanted.items())
    return _same(value, wanted)


def _operator(name: str) -> Callable[[Any, Any], bool]:
    try:
        return _OPERATORS[name]
    except KeyError:
        raise UnknownFilterError(f"unknown operator {name}") from None


def _value(run: Run, key: str) -> Any:
    head, _, rest = key.partition(".")
    if head == "config":
        return _dig(run.config_values, rest.removesuffix(".value"))
    if _normal(head) in ("summarymetrics", "summary"):
        return _dig(json.loads(run.summary or "{}"), rest)
    try:
        return _FIELDS[_normal(key)](run)
    except KeyError:
        raise UnknownFilterError(f"unknown field {key}") from None


def _normal(key: str) -> str:
    return key.replace("_", "").lower()


def _dig(values: Any, path: str) -> Any:
    if isinstance(values, dict) and path in values:
        return values[path]
    head, _, rest = path.partition(".")
    if not rest or not isinstance(values, dict) or head not in values:
        return _MISSING
    return _dig(values[head], rest)


def _same(value: Any, wanted: Any) -> bool:
    if value is _MISSING:
        return wanted is None
    if isinstance(value, list) and not isinstance(wanted, list):
        return wanted in value
    return bool(value == wanted)


def _comparable(value: Any, wanted: Any) -> bool:
    numbers = (int, float)
    if isinstance(value, numbers) and isinstance(wanted, numbers):
        return True
    return isinstance(value, str) and isinstance(wanted, str)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _same,
    "$ne": lambda value, wanted: not _same(value, wanted),
    "$gt": lambda value, wanted: _comparable(value, wanted) and value > wanted,
    "$gte": lambda value, wanted: _comparable(value, wanted) and value >= wanted,
    "$lt": lambda value, wanted: _comparable(value, wanted) and value < wanted,
    "$lte": lambda value, wanted: _comparable(value, wanted) and value <= wanted,
    "$in": lambda value, wanted: any(_same(value, item) for item in wanted),
    "$nin": lambda value, wanted: not any(_same(value, item) for item in wanted),
    "$regex": lambda value, wanted: isinstance(value, str) and re.search(wanted, value) is not None,
    "$exists": lambda value, wanted: (value is not _MISSING and value is not None) == bool(wanted),
}
