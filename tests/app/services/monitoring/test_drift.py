"""Drift: silent on the reference's own kind, loud on another, silent on too little, and never broken by a profile."""

import json
import random
from itertools import pairwise

import pytest

from app.core.config import EMBEDDED_MODEL_DIR
from app.services.artifact import read_manifest
from app.services.monitoring.drift import SIGNALS, DriftWatch, signals_of, stability_index, threshold

REFERENCE = {
    "rows": 1000,
    "label": {"negative": 0.5, "positive": 0.5},
    "language": {"en": 0.99, "de": 0.01},
    "confidence": {"edges": [0.5, 0.7, 0.9], "shares": [0.2, 0.3, 0.5]},
    "tokens": {"edges": [0, 100, 200, 400], "shares": [0.25, 0.25, 0.25, 0.25]},
    "unknown_share": {"edges": [0.0, 0.001, 0.01], "shares": [1.0, 0.0, 0.0]},
}


def drawn(generator, **changes):
    return {
        "label": generator.choice(["negative", "positive"]),
        "language": "en",
        "confidence": generator.choices([0.6, 0.8, 0.95], [0.2, 0.3, 0.5])[0],
        "tokens": generator.choice([50, 150, 300, 500]),
        "unknown_share": 0.0,
    } | changes


def watch(window=200, minimum=50):
    return DriftWatch(signals_of(REFERENCE), window, minimum)


def drifted(found):
    return {entry.signal.name for entry in found if entry.drifted}


def test_the_index_is_nothing_for_equal_shares_and_grows_with_the_difference():
    assert stability_index([0.5, 0.5], 1000, [500, 500]) == pytest.approx(0, abs=1e-9)
    small, large = (stability_index([0.5, 0.5], 1000, counts) for counts in ([550, 450], [900, 100]))
    assert 0 < small < 0.1 < large


def test_an_empty_bin_does_not_make_the_index_infinite():
    assert stability_index([1.0, 0.0], 1000, [0, 200]) < 100


def test_less_data_needs_a_larger_difference():
    assert threshold(8, 50, 1000) > threshold(8, 200, 1000) > threshold(8, 5000, 100_000) == 0.1
    assert threshold(8, 200, 500) > threshold(8, 200, 5000)


def test_windows_of_the_references_own_kind_raise_next_to_no_alarm():
    generator = random.Random(1)
    alarms = 0
    for _ in range(300):
        found = watch()
        for _ in range(200):
            found.add(drawn(generator))
        alarms += bool(drifted(found.check()))
    assert alarms <= 3


@pytest.mark.parametrize(
    ("changes", "signal"),
    [
        ({"label": "positive"}, "label"),
        ({"label": "unheard of"}, "label"),
        ({"language": "cyrillic"}, "language"),
        ({"confidence": 0.6}, "confidence"),
        ({"tokens": 20}, "tokens"),
        ({"tokens": 20_000}, "tokens"),
        ({"unknown_share": 0.2}, "unknown_share"),
    ],
)
def test_another_kind_is_seen_and_named(changes, signal):
    generator = random.Random(2)
    found = watch()
    for _ in range(200):
        found.add(drawn(generator))
    assert drifted(found.check()) == set()
    for _ in range(150):
        found.add(drawn(generator, **changes))
    assert drifted(found.check()) == {signal}


def test_it_ends_when_the_old_kind_is_back():
    generator = random.Random(3)
    found = watch()
    for _ in range(200):
        found.add(drawn(generator, tokens=20))
    assert drifted(found.check()) == {"tokens"}
    for _ in range(200):
        found.add(drawn(generator))
    assert drifted(found.check()) == set()


def test_it_does_not_flap_at_the_threshold():
    found = DriftWatch(signals_of({"rows": 100_000, "label": {"a": 0.5, "b": 0.5}}), 200, 50)
    state = []
    for index in range(1200):
        # The window goes to and fro between clearly over and a little under the threshold.
        found.add({"label": "a" if index % 200 < 140 + 6 * (index // 200 % 2) else "b"})
        if index >= 200 and index % 50 == 0:
            state.append(bool(drifted(found.check())))
    assert sum(before != after for before, after in pairwise(state)) <= 1


def test_below_the_minimum_nothing_is_said():
    found = watch()
    for _ in range(49):
        found.add(drawn(random.Random(0), tokens=20))
    assert all(entry.index is None and not entry.drifted for entry in found.check())
    found.add(drawn(random.Random(0), tokens=20))
    assert "tokens" in drifted(found.check())


def test_what_a_row_does_not_tell_is_left_out():
    found = watch()
    for _ in range(60):
        found.add({"label": "positive"})
    rows = {entry.signal.name: entry.rows for entry in found.check()}
    assert rows == {"label": 60, "language": 0, "confidence": 0, "tokens": 0, "unknown_share": 0}


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"rows": 0, "label": {"a": 1.0}},
        {"rows": "many", "label": {"a": 1.0}},
        {"rows": 10, "label": {}},
        {"rows": 10, "label": "a"},
        {"rows": 10, "tokens": {"edges": [0], "shares": [1]}},
        {"rows": 10, "tokens": {"edges": [0, 5], "shares": [1]}},
        {"rows": 10, "tokens": {"edges": [5, 0], "shares": [0.5, 0.5]}},
        {"rows": 10, "tokens": {"edges": [0, 5], "shares": [0, 0]}},
        {"rows": 10, "tokens": {"edges": [0, "x"], "shares": [0.5, 0.5]}},
        {"rows": 10, "tokens": None},
    ],
)
def test_a_profile_that_makes_no_sense_is_left_out(reference):
    assert signals_of(reference) == ()
    assert DriftWatch(signals_of(reference), 200, 50).check() == []


def test_sparse_bins_are_joined():
    shares = [0.0, 0.01, 0.02, 0.5, 0.45, 0.01, 0.01]
    (signal,) = signals_of({"rows": 100, "tokens": {"edges": [0, 1, 2, 3, 4, 5, 6], "shares": shares}})
    assert sum(signal.shares) == pytest.approx(1)
    assert min(signal.shares) >= 0.04
    assert [signal.bin_of(value) for value in (0, 3.5, 100)] == sorted(
        signal.bin_of(value) for value in (0, 3.5, 100)
    )


def test_the_embedded_models_profile_has_every_signal():
    manifest = read_manifest(EMBEDDED_MODEL_DIR)
    assert {signal.name for signal in signals_of(manifest.reference)} == set(SIGNALS)
    assert len(json.dumps(manifest.reference)) < 20_000
