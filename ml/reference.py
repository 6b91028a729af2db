"""The profile of known text that live traffic is compared with: what the exported model sees and says of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.services.text import EncodedText

LENGTH_EDGES = (0, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024)
CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
UNKNOWN_EDGES = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05)


def profile(
    name: str, labels: Sequence[str], texts: Sequence[EncodedText], probabilities: np.ndarray
) -> dict[str, Any]:
    """Describe texts and answers by histograms.

    Args:
        name: what the texts are.
        labels: the model's labels.
        texts: as the model reads them.
        probabilities: its answers, shape ``(n, labels)``.

    Returns:
        For ``tokens``, ``confidence`` and ``unknown_share``: lower ``edges`` and ``shares`` that sum to 1 (the last
        bin is open); for ``label``: shares by label.
    """
    answers = probabilities.argmax(axis=1)
    return {
        "data": name,
        "rows": len(texts),
        "label": {label: float((answers == index).mean()) for index, label in enumerate(labels)},
        "tokens": _histogram([text.tokens for text in texts], LENGTH_EDGES),
        "confidence": _histogram(probabilities.max(axis=1).tolist(), CONFIDENCE_EDGES),
        "unknown_share": _histogram([text.unknown / max(1, text.tokens) for text in texts], UNKNOWN_EDGES),
    }


def _histogram(values: Sequence[float], edges: Sequence[float]) -> dict[str, list[float]]:
    bins = np.searchsorted(np.asarray(edges), np.asarray(values), side="right") - 1
    counts = np.bincount(np.clip(bins, 0, len(edges) - 1), minlength=len(edges))
    return {
        "edges": [float(edge) for edge in edges],
        "shares": [round(float(c), 6) for c in counts / max(1, len(values))],
    }
