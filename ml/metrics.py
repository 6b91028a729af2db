"""What a classifier's answers are worth, from labels and logits alone."""

import numpy as np

CALIBRATION_BINS = 15


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the softmax of ``logits / temperature``; shape ``(n, labels)``, float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def log_loss(labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean negative log probability of the right label, in nats."""
    chosen = probabilities(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(chosen, 1e-12, 1.0)).mean())


def reliability(
    labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0
) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and rows of each of 15 equal-width bins of the confidence that has any."""
    answers = probabilities(logits, temperature)
    confidence, right = answers.max(axis=1), answers.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        (float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (bins == index for index in np.unique(bins))
    ]


def calibration_error(labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> float:
    """Return the expected calibration error over 15 equal-width bins of the confidence."""
    bins = reliability(labels, logits, temperature)
    return sum(abs(confidence - accuracy) * rows for confidence, accuracy, rows in bins) / len(labels)


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the chance that a positive text scores above a negative one, ties counted half; NaN for one class."""
    positive = int(labels.sum())
    negative = len(labels) - positive
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def classification_metrics(
    labels: np.ndarray, logits: np.ndarray, temperature: float = 1.0
) -> dict[str, float]:
    """Return accuracy, F1 of the positive class, ROC AUC, log loss and calibration error.

    ROC AUC, which one class alone does not have, is left out there: JSON has no NaN.
    """
    answers = logits.argmax(axis=1)
    hits = int(((answers == 1) & (labels == 1)).sum())
    errors = int((answers != labels).sum())
    area = roc_auc(labels, logits[:, 1].astype(np.float64) - logits[:, 0])
    return {
        "accuracy": float((answers == labels).mean()),
        "f1": 2 * hits / max(1, 2 * hits + errors),
        **({} if np.isnan(area) else {"roc_auc": area}),
        "log_loss": log_loss(labels, logits, temperature),
        "calibration_error": calibration_error(labels, logits, temperature),
    }


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the temperature with the least log loss, by golden-section search over its logarithm."""
    low, high, ratio = np.log(0.2), np.log(5.0), (np.sqrt(5.0) - 1) / 2
    for _ in range(60):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        if log_loss(labels, logits, float(np.exp(first))) < log_loss(labels, logits, float(np.exp(second))):
            high = second
        else:
            low = first
    return float(np.exp((low + high) / 2))


def confusion(labels: np.ndarray, logits: np.ndarray) -> list[list[int]]:
    """Return counts as ``[truth][answer]``, negative first."""
    answers = logits.argmax(axis=1)
    return [[int(((labels == truth) & (answers == answer)).sum()) for answer in (0, 1)] for truth in (0, 1)]
