"""Live accuracy: the same figures as offline, on the same answers."""

import numpy as np
import pytest

from app.services.monitoring.accuracy import Judged, LiveAccuracy, Tally
from ml.metrics import calibration_error, classification_metrics, confusion

LABELS = ("negative", "positive")


def answers(rows, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, rows)
    logits = generator.normal(0, 2, (rows, 2)) + np.eye(2)[truth] * 2
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    judged = [
        Judged(LABELS[label], LABELS[int(row.argmax())], float(row.max()))
        for label, row in zip(truth, probabilities, strict=True)
    ]
    return truth, logits, judged


def test_the_figures_are_those_of_the_evaluation():
    truth, logits, judged = answers(1000)
    tally = Tally()
    for entry in judged:
        tally.add(entry)
    assert tally.accuracy == classification_metrics(truth, logits)["accuracy"]
    assert tally.calibration_error == pytest.approx(calibration_error(truth, logits))
    table = confusion(truth, logits)
    assert {
        (entry["truth"], entry["prediction"]): entry["rows"] for entry in tally.summary()["confusion"]
    } == {(LABELS[row], LABELS[column]): table[row][column] for row in (0, 1) for column in (0, 1)}


def test_the_window_forgets_and_versions_do_not():
    live = LiveAccuracy(window=100)
    _, _, first = answers(150, seed=1)
    _, _, second = answers(100, seed=2)
    for entry in first:
        live.add(entry, "v1")
    for entry in second:
        live.add(entry, "v2")
    expected = Tally()
    for entry in second:
        expected.add(entry)
    found, wanted = live.window.summary(), expected.summary()
    assert found.pop("calibration_error") == pytest.approx(wanted.pop("calibration_error"), abs=1e-6)
    assert found == wanted
    assert {version: tally.rows for version, tally in live.versions.items()} == {"v1": 150, "v2": 100}


def test_nothing_is_said_without_feedback():
    summary = Tally().summary()
    assert summary["rows"] == 0
    assert summary["accuracy"] is None
    assert summary["calibration_error"] is None
    assert summary["interval"] is None


def test_a_model_without_confidences_has_an_accuracy_only():
    tally = Tally()
    tally.add(Judged("a", "a", None))
    assert tally.accuracy == 1
    assert tally.calibration_error is None


def test_the_interval_narrows_with_the_rows():
    few, many = Tally(), Tally()
    for tally, rows in ((few, 10), (many, 1000)):
        for index in range(rows):
            tally.add(Judged("a", "a" if index % 10 else "b", 0.9))
    assert few.interval()[0] < many.interval()[0] < 0.9 < many.interval()[1] < few.interval()[1]


def test_memory_is_bounded():
    live = LiveAccuracy(window=10)
    for index in range(2_000):
        live.add(Judged(f"label {index}", "x", 0.5), f"v{index}")
    assert len(live.versions) <= 20
    tally = Tally()
    for index in range(2_000):
        tally.add(Judged(f"label {index}", "x", 0.5))
    assert len(tally.confusion) <= 400
    assert tally.rows == 2_000
