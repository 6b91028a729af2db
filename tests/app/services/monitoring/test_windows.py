"""Windows by time: quantiles within ten per cent, sums that add up, and bounded memory."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from app.services.monitoring.observation import Observation, answer_of, observe
from app.services.monitoring.windows import KEPT_WINDOWS, Durations, Timeline, Window, count_bounded

SEEN = Observation("positive", 0.9, 120, 30, 1, 0.4, "en", False, 2.0, 20.0, 1)


def test_quantiles_are_right_to_ten_per_cent():
    generator = random.Random(0)
    values = sorted(generator.lognormvariate(3, 1) for _ in range(5_000))
    durations = Durations()
    for value in values:
        durations.add(value)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = values[int(share * len(values)) - 1]
        assert exact <= durations.quantiles()[name] <= exact * 1.11


@pytest.mark.parametrize("milliseconds", [0, 1e-9, 1e9])
def test_any_duration_is_counted(milliseconds):
    durations = Durations()
    durations.add(milliseconds)
    assert durations.quantile(0.99) is not None


def test_an_empty_window_says_nothing():
    summary = Window(0).summary()
    assert summary["predictions"] == 0
    assert summary["confidence"] is None
    assert summary["unknown_share"] is None
    assert summary["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def test_a_window_sums_up_what_was_seen():
    window = Window(0)
    for entry in (
        SEEN,
        replace(SEEN, label="negative", confidence=0.7, truncated=True, unknown_tokens=5),
        replace(SEEN, tokens=60),
    ):
        window.add(entry)
    window.errors["overloaded"] += 2
    window.add_request(200, 30)
    window.add_request(503, 5)
    summary = window.summary()
    assert summary["predictions"] == 3
    assert summary["labels"] == {"positive": 0.6667, "negative": 0.3333}
    assert summary["confidence"] == pytest.approx(0.8333)
    assert summary["tokens"] == 40
    assert summary["unknown_share"] == pytest.approx(7 / 120, abs=1e-6)
    assert summary["truncated_share"] == pytest.approx(0.3333)
    assert (summary["requests"], summary["failures"]) == (2, 1)
    assert summary["errors"] == {"overloaded": 2}


def test_windows_added_up_are_one_window():
    one, other, both = Window(0), Window(60), Window(0)
    for index, entry in enumerate([SEEN, replace(SEEN, label="negative", queue_ms=50.0)] * 5):
        (one if index < 4 else other).add(entry)
        both.add(entry)
    one.update(other)
    assert one.summary() == both.summary()


def test_the_timeline_keeps_some_hours():
    timeline = Timeline()
    for minute in range(KEPT_WINDOWS + 50):
        timeline.at(minute * 60.0 + 5).add(SEEN)
    assert len(timeline.since(0)) == KEPT_WINDOWS
    now = (KEPT_WINDOWS + 49) * 60.0 + 5
    assert timeline.last(now, 300).predictions == 5


def test_a_clock_that_is_set_back_changes_nothing():
    timeline = Timeline()
    timeline.at(600).add(SEEN)
    timeline.at(300).add(SEEN)
    assert [window.predictions for window in timeline.since(0)] == [2]


def test_names_are_bounded():
    counts: Counter[str] = Counter()
    names = {count_bounded(counts, f"label {index}") for index in range(1_000)}
    assert len(counts) == len(names) == 51
    assert counts["other"] == 950


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        (
            {"confidence_negative": 0.2, "confidence_very positive": 0.8, "sentiment": "Very positive"},
            ("very positive", 0.8),
        ),
        ({"sentiment": "Positive"}, ("positive", None)),
        ({"label": "2"}, ("2", None)),
        ({"value": 3.5}, (None, None)),
        ({}, (None, None)),
        ({"label": 3, "confidence_a": "high"}, (None, None)),
    ],
)
def test_the_answer_is_read_from_any_models_row(row, answer):
    assert answer_of(row) == answer


def test_any_row_can_be_observed():
    seen = observe(
        {
            "tokens": -1,
            "characters": "many",
            "text": 7,
            "truncated": 1,
            "queue_ms": None,
            "unknown_tokens": True,
        }
    )
    assert (seen.tokens, seen.characters, seen.language, seen.truncated, seen.unknown_tokens) == (
        None,
        None,
        None,
        False,
        None,
    )
    assert all(value is None for value in seen.signals().values())
