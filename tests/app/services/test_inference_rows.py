"""What a row becomes on its way to W&B."""

import json
from typing import Any

import numpy as np
import pytest

from app.services.inference_rows import encode_row


def encoded(row: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = json.loads(encode_row(row)[0])
    return columns


def test_json_scalars_stay_as_they_are() -> None:
    row = {"id": "a", "tokens": 12, "confidence_positive": 0.5, "truncated": False, "text": "é" * 5_000}
    assert encode_row(row)[1] == 0
    assert encoded(row) == row


def test_a_missing_value_is_no_column_and_no_change() -> None:
    assert encode_row({"a": 1, "trace": None}) == (b'{"a":1}', 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_numbers_that_json_lacks_are_left_out_and_counted(value: float) -> None:
    assert encode_row({"a": 1, "b": value}) == (b'{"a":1}', 1)


@pytest.mark.parametrize(
    ("value", "expected", "changed"),
    [
        (np.float64(0.5), 0.5, 0),
        (np.int64(3), 3, 0),
        (np.bool_(True), True, 0),
        ([1, "two"], '[1, "two"]', 1),
        (np.zeros(2), "[0. 0.]", 1),
        (b"bytes", "b'bytes'", 1),
        (2**70, str(2**70), 1),
        ({1}, "{1}", 1),
        ("half a pair \ud83d", "half a pair \ufffd", 1),
        ("x" * 5_000, "x" * 250, 1),
    ],
)
def test_other_values_become_scalars(value: Any, expected: Any, changed: int) -> None:
    row = {"a": value}
    assert encoded(row) == {"a": expected}
    assert encode_row(row)[1] == changed


def test_mappings_become_columns() -> None:
    row = {"confidences": {"negative": 0.25, "positive": 0.75}}
    assert encode_row(row)[1] == 0
    assert encoded(row) == {"confidences_negative": 0.25, "confidences_positive": 0.75}


def test_names_that_wandb_keeps_for_itself_are_changed() -> None:
    assert encoded({"_step": 7, 3: 4}) == {"step": 7, "3": 4}


def test_columns_are_bounded() -> None:
    data, changed = encode_row({f"column-{number}": number for number in range(500)})
    assert len(json.loads(data)) == 100
    assert changed == 400


def test_a_value_that_contains_itself_does_no_harm() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert encoded({"a": endless}) == {"a": "[[...]]"}
