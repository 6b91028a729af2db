"""Metrics against values by hand and against scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from ml.metrics import (
    calibration_error,
    classification_metrics,
    confusion,
    fit_temperature,
    log_loss,
    probabilities,
    reliability,
    roc_auc,
)


def random_answers(count: int, seed: int = 0, noise: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    logits = generator.normal(0, noise, (count, 2)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    return labels, logits


def logits_of(*positive: float) -> np.ndarray:
    """Logits that give these probabilities of the second label."""
    return np.array([[math.log(1 - p), math.log(p)] for p in positive])


def test_probabilities_by_hand():
    answer = probabilities(np.array([[0.0, math.log(3)], [1000.0, -1000.0]]))
    assert answer == pytest.approx(np.array([[0.25, 0.75], [1, 0]]))
    assert probabilities(np.array([[0.0, math.log(9)]]), temperature=2) == pytest.approx(
        np.array([[0.25, 0.75]])
    )


def test_roc_auc_by_hand():
    assert roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert roc_auc(np.array([0, 1]), np.array([1, 1])) == 0.5
    assert math.isnan(roc_auc(np.array([1, 1]), np.array([0.1, 0.2])))


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    labels, logits = random_answers(400, seed)
    logits = np.round(logits.astype(np.float64), 1)  # Ties are part of it.
    positive = probabilities(logits)[:, 1]
    scores = classification_metrics(labels, logits)
    assert scores["roc_auc"] == pytest.approx(reference.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    assert scores["log_loss"] == pytest.approx(reference.log_loss(labels, positive))
    answers = logits.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    assert scores["f1"] == pytest.approx(reference.f1_score(labels, answers))
    assert confusion(labels, logits) == reference.confusion_matrix(labels, answers).tolist()


def test_log_loss_of_a_sure_mistake_is_finite():
    assert log_loss(np.array([0]), np.array([[-500.0, 500.0]])) == pytest.approx(-math.log(1e-12))


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.9 and 0.92 lie in one, 0.7 in another; each weighs by its rows.
    labels = np.array([1, 0, 1, 0])
    logits = logits_of(0.9, 0.92, 0.7, 0.3)
    expected = abs(0.91 - 0.5) * 0.5 + abs(0.7 - 1.0) * 0.5
    assert calibration_error(labels, logits) == pytest.approx(expected)
    assert reliability(labels, logits) == [
        pytest.approx((0.7, 1.0, 2)),
        pytest.approx((0.91, 0.5, 2)),
    ]


def test_calibration_error_of_perfect_answers_is_zero():
    labels, logits = np.array([0, 1]), np.array([[500.0, -500.0], [-500.0, 500.0]])
    assert calibration_error(labels, logits) == 0


def test_figures_of_one_class_can_be_written_as_json():
    labels, logits = np.ones(5, dtype=int), logits_of(0.9, 0.8, 0.4, 0.6, 0.7)
    scores = classification_metrics(labels, logits)
    assert "roc_auc" not in scores
    assert scores["accuracy"] == 0.8
    assert all(math.isfinite(value) for value in scores.values())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_recovers_a_known_temperature(temperature):
    generator = np.random.default_rng(3)
    calibrated = generator.normal(0, 2, (10_000, 2))
    labels = (generator.random(10_000) < probabilities(calibrated)[:, 1]).astype(int)
    assert fit_temperature(labels, calibrated * temperature) == pytest.approx(temperature, rel=0.08)


def test_the_temperature_lowers_the_loss_and_changes_no_answer():
    labels, logits = random_answers(2000, noise=3)
    temperature = fit_temperature(labels, logits)
    raw, scaled = classification_metrics(labels, logits), classification_metrics(labels, logits, temperature)
    assert scaled["log_loss"] < raw["log_loss"]
    assert scaled["calibration_error"] < raw["calibration_error"]
    assert (scaled["accuracy"], scaled["roc_auc"]) == (raw["accuracy"], raw["roc_auc"])
