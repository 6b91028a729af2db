"""Rows of the inference log as flat JSON: what goes to W&B is made here, whatever a model class gave."""

import json
import math
import re
from functools import lru_cache
from typing import Any

_MAX_COLUMNS = 100
_MAX_CHARACTERS = 250
_WHOLE_NUMBERS = range(-(2**63), 2**63)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def encode_row(row: dict[str, Any]) -> tuple[bytes, int]:
    """Return a row as one JSON object, and how many of its values had to be changed.

    Mappings become columns of their own (``confidences`` with the key ``negative``: ``confidences_negative``), other
    values that are no JSON scalars their JSON or `str`, too long texts are cut. NaN and infinity are left out, as None
    is: W&B shows a column that a row lacks as empty, and its client loads pandas to write a null.
    """
    columns: dict[str, Any] = {}
    changed = 0
    for name, value in _flat(row):
        if len(columns) == _MAX_COLUMNS:
            changed += 1
            continue
        key = _key(name)
        kind = type(value)
        is_short = kind is str and (len(value) <= _MAX_CHARACTERS or key == "text")
        if (kind is float and math.isfinite(value)) or (is_short and value.isascii()):
            scalar = value
        else:
            scalar, kept = _scalar(value, _MAX_CHARACTERS if key != "text" else None)
            changed += not kept
        if scalar is not None and key:
            columns[key] = scalar
    return _ENCODER.encode(columns).encode(), changed


@lru_cache(maxsize=1_000)
def _key(name: str) -> str:
    # W&B keeps names with an underscore in front for itself.
    return _SURROGATE.sub("\ufffd", name).lstrip("_")[:_MAX_CHARACTERS]


def _flat(row: dict[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in row.items():
        if isinstance(value, dict):
            flat += [(f"{name}_{key}", inner) for key, inner in value.items()]
        else:
            flat.append((str(name), value))
    return flat


def _scalar(value: Any, limit: int | None) -> tuple[Any, bool]:
    """Return a JSON scalar or None, and whether it says all that `value` said."""
    if value is None or isinstance(value, bool):
        return value, True
    if callable(item := getattr(value, "item", None)):
        try:  # A scalar of numpy.
            value = item()
        except (TypeError, ValueError):
            return _text(value, limit), False
    if type(value) is float:
        return (value, True) if math.isfinite(value) else (None, False)
    if type(value) is int:
        return (value, True) if value in _WHOLE_NUMBERS else (str(value)[:limit], False)
    if type(value) is bool:
        return value, True
    text = _text(value, limit)
    return text, text == value


def _text(value: Any, limit: int | None) -> str:
    if not isinstance(value, str):
        try:
            value = json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            value = str(value)
    return _SURROGATE.sub("\ufffd", value)[:limit]
