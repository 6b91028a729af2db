import numpy as np
import pytest

from ml.acceptance import AcceptanceError
from ml.compare import Comparison, compare, mcnemar
from ml.dataset import Dataset
from tests.ml.keyword_model import KeywordPredictor


def data_of(count: int) -> Dataset:
    return Dataset("made", tuple(f"text {row:05d}" for row in range(count)), np.arange(count) % 2)


def model(data: Dataset, wrong: range = range(0), answer: str | None = None) -> KeywordPredictor:
    """A model that misreads the rows `wrong`, or gives `answer` to them."""
    names = ("negative", "positive")
    words = {text: names[label] for text, label in zip(data.texts, data.labels.tolist(), strict=True)}
    return KeywordPredictor(
        words | {data.texts[row]: answer or names[1 - int(data.labels[row])] for row in wrong}
    )


def differing(count: int, lost: int, gained: int) -> Comparison:
    data = data_of(count)
    return compare(model(data, range(lost)), model(data, range(lost, lost + gained)), data)


class TestMcnemar:
    @pytest.mark.parametrize(
        ("lost", "gained", "expected"),
        [
            (0, 0, 1.0),
            (0, 10, 1.0),
            (1, 1, 3 / 4),
            (5, 0, 1 / 32),
            (7, 1, 9 / 256),
            (6, 2, 37 / 256),
            (2, 6, 247 / 256),
        ],
    )
    def test_gives_the_values_of_a_calculation_by_hand(self, lost, gained, expected):
        assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-12)

    def test_agrees_with_the_normal_distribution_where_many_differ(self):
        # (2600 - 0.5 - 2500) / sqrt(1250) = 2.814 standard deviations.
        assert mcnemar(2600, 2400) == pytest.approx(0.00244, rel=0.02)


class TestCompare:
    def test_takes_an_equal_model(self):
        found = differing(100, 0, 0)
        assert (found.lost, found.gained, found.p_value, found.not_worse) == (0, 0, 1.0, True)
        assert found.reason == "Not worse: equal."

    def test_takes_a_better_model(self):
        found = differing(100, 1, 6)
        assert found.not_worse
        assert (found.candidate_right, found.current_right, found.lost, found.gained) == (99, 94, 1, 6)
        assert found.reason == "Not worse: 5 texts more right."

    def test_refuses_a_model_that_is_significantly_worse(self):
        found = differing(5000, 20, 8)
        assert not found.not_worse
        assert found.p_value < 0.05
        assert "no chance" in found.reason

    def test_refuses_a_loss_beyond_the_margin_that_chance_could_explain(self):
        allowed, refused = differing(2000, 60, 50), differing(2000, 61, 50)
        assert allowed.not_worse
        assert "which chance explains" in allowed.reason
        assert not refused.not_worse
        assert refused.p_value > 0.05
        assert refused.reason == "Worse: 11 texts fewer right, 10 are put up with."

    def test_three_texts_decide_nothing_on_small_data(self):
        assert differing(100, 3, 0).not_worse
        found = differing(100, 4, 0)
        assert found.p_value == pytest.approx(1 / 16)
        assert not found.not_worse

    def test_an_input_at_which_the_candidate_fails_is_lost(self):
        data = data_of(10)
        found = compare(model(data, range(6), answer="fail"), model(data), data)
        assert (found.candidate_right, found.lost, found.not_worse) == (4, 6, False)

    def test_says_on_which_data_and_with_which_figures(self):
        data = data_of(200)
        found = compare(model(data, range(7)), model(data, range(7, 8)), data)
        assert found.digest == data.digest()
        text = str(found)
        assert text.startswith(f"On made, 200 texts ({data.digest()}): candidate 96.50%, current 99.50%.")
        assert "p = 0.0352" in text
        assert text.endswith(found.reason)

    def test_counts_its_progress(self):
        data, steps = data_of(7), []
        compare(model(data), model(data), data, progress=steps.append)
        assert sum(steps) == 14

    def test_refuses_other_labels_and_empty_data(self):
        data = data_of(4)
        stars = model(data)
        stars.labels = ("1 star", "5 stars")
        with pytest.raises(AcceptanceError, match="it has: 1 star, 5 stars"):
            compare(stars, model(data), data)
        with pytest.raises(AcceptanceError, match="made holds no texts"):
            compare(model(data), model(data), data.take([]))
