"""The arithmetic and the tables of the benchmarks."""

import argparse
import json
import math

import pytest

from benchmarks.report import cell, finish, machine, median, quantile, ratio, table


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.01, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1, 100)])
def test_a_quantile_is_a_value_that_was_seen(share, value):
    assert quantile(range(100, 0, -1), share) == value


def test_a_quantile_of_few_values_is_no_better_than_the_worst():
    assert quantile([1.0, 9.0], 0.99) == 9.0
    assert math.isnan(quantile([], 0.5))


def test_the_median_lies_between_the_middle_two():
    assert median([4, 1, 3]) == 3
    assert median([4, 1, 3, 2]) == 2.5
    assert math.isnan(median([]))


def test_a_ratio_to_nothing_is_no_number():
    assert ratio(3, 2) == 1.5
    assert math.isnan(ratio(3, 0))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (math.nan, "–"),
        (1234.5, "1,234"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1234, "0.123"),
        (2000, "2,000"),
        ("a", "a"),
    ],
)
def test_a_cell_shows_the_digits_that_count(value, shown):
    assert cell(value) == shown


def test_a_table_has_numbers_to_the_right_and_every_column_that_a_row_names():
    shown = table([{"server": "a", "1/s": 3.0}, {"server": "b", "1/s": None, "why": "not there"}])
    assert shown.splitlines() == [
        "| server | 1/s | why |",
        "|---|---:|---|",
        "| a | 3.00 | – |",
        "| b | – | not there |",
    ]


def test_the_figures_are_written_with_machine_and_arguments(tmp_path, capsys):
    arguments = argparse.Namespace(json=tmp_path / "deep" / "figures.json", rounds=2)
    finish("serve", arguments, [{"what": "x", "1/s": 2.0}], machine() | {"load_average": 3.0}, more=[1])
    figures = json.loads(arguments.json.read_text("utf-8"))
    assert figures["benchmark"] == "serve"
    assert figures["rows"] == [{"what": "x", "1/s": 2.0}]
    assert figures["arguments"]["rounds"] == 2
    assert figures["machine"]["cores"] >= 1
    assert figures["more"] == [1]
    printed = capsys.readouterr().out
    assert "| x | 2.00 |" in printed
    assert "not idle: load average 3.0" in printed
