"""The reference profile: shares by bin that a monitor can compare live traffic with."""

import numpy as np
import pytest

from app.services.text import EncodedText
from ml.reference import CONFIDENCE_EDGES, LENGTH_EDGES, UNKNOWN_EDGES, profile


def text(tokens: int, unknown: int = 0) -> EncodedText:
    return EncodedText(((0,),), tokens, unknown, truncated=False)


def test_counts_labels_lengths_confidence_and_unknown_tokens():
    texts = [text(10), text(16, unknown=1), text(2000), text(64)]
    answers = np.array([[0.5, 0.5], [0.05, 0.95], [0.2, 0.8], [0.995, 0.005]])
    found = profile("made", ("negative", "positive"), texts, answers)
    assert (found["data"], found["rows"]) == ("made", 4)
    assert found["label"] == {"negative": 0.5, "positive": 0.5}
    assert found["tokens"]["edges"] == list(LENGTH_EDGES)
    assert found["tokens"]["shares"] == [0.25, 0.25, 0, 0.25, 0, 0, 0, 0, 0, 0, 0.25]
    assert found["confidence"]["edges"] == list(CONFIDENCE_EDGES)
    assert found["confidence"]["shares"] == [0.25, 0, 0, 0.25, 0, 0.25, 0.25]
    assert found["unknown_share"]["edges"] == list(UNKNOWN_EDGES)
    assert found["unknown_share"]["shares"] == [0.75, 0, 0, 0, 0, 0.25]


def test_shares_sum_to_one():
    generator = np.random.default_rng(0)
    positive = generator.random(500)
    texts = [text(int(n), int(n) // 30) for n in generator.integers(0, 1500, 500)]
    found = profile("made", ("negative", "positive"), texts, np.stack([1 - positive, positive], axis=1))
    for name in ("tokens", "confidence", "unknown_share"):
        assert sum(found[name]["shares"]) == pytest.approx(1, abs=1e-5)
    assert sum(found["label"].values()) == pytest.approx(1)


def test_a_text_without_tokens_has_no_unknown_share():
    found = profile("made", ("negative", "positive"), [text(0)], np.array([[0.9, 0.1]]))
    assert found["unknown_share"]["shares"][0] == 1
