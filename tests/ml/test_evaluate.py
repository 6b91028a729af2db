"""Evaluation through a predictor: figures, slices, the cache of an interrupted one, the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from app.services.predictor import Predictor
from ml.dataset import Dataset
from ml.evaluate import answer, evaluate, own_slices, slice_tables, slices, table_of
from ml.plots import plot_answers
from tests.ml.samples import sentences


@dataclass(frozen=True)
class Output:
    label: str
    confidences: dict[str, float]
    tokens: int
    windows: int
    truncated: bool


class WordPredictor(Predictor):
    """Is 90 % sure of `positive` where a text holds "good", and 70 % sure of `negative` otherwise."""

    labels = ("negative", "positive")

    def __init__(self) -> None:
        self.asked: list[str] = []

    @classmethod
    def load(cls, path, context):
        return cls()

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        return [self._answer(text) for text in batch]

    def _answer(self, text: str) -> Output:
        self.asked.append(text)
        if text == "stop":
            raise KeyboardInterrupt
        positive = 0.9 if "good" in text else 0.3
        words = len(text.split())
        return Output(
            "positive" if positive > 0.5 else "negative",
            {"negative": 1 - positive, "positive": positive},
            words,
            1 + words // 512,
            words > 3000,
        )


DATA = Dataset(
    "made",
    ("good", "good indeed", "good for nothing", "weak", "not my taste " * 100, "poor " * 3001),
    np.array([1, 1, 0, 0, 1, 0]),
    ratings=(9, 8, 2, 2, 8, 2),
)


def test_figures_of_one_data_set():
    answers, report = evaluate(WordPredictor(), DATA, temperature=1.0)
    assert answers.probabilities[:, 1].tolist() == [0.9, 0.9, 0.9, 0.3, 0.3, 0.3]
    assert answers.tokens.tolist() == [1, 2, 3, 1, 300, 3001]
    assert (report["data"], report["rows"], report["digest"]) == ("made", 6, DATA.digest())
    assert report["read_whole"] == pytest.approx(5 / 6)
    assert report["confusion"] == [[2, 1], [1, 2]]
    scores = report["metrics"]
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["log_loss"] == pytest.approx(-np.log([0.9, 0.9, 0.1, 0.7, 0.3, 0.7]).mean())
    assert scores["calibration_error"] == pytest.approx((abs(0.9 - 2 / 3) + abs(0.7 - 2 / 3)) / 2)


def test_without_the_temperature_answers_are_those_of_training():
    _, scaled = evaluate(WordPredictor(), DATA, temperature=2.0)
    # A temperature of 2 made 0.9 and 0.7 out of these: odds of 9 and 7/3, squared.
    sure, unsure = 81 / 82, 49 / 58
    losses = -np.log([sure, sure, 1 - sure, unsure, 1 - unsure, unsure])
    assert scaled["metrics"]["log_loss_unscaled"] == pytest.approx(losses.mean())
    error = (abs(sure - 2 / 3) + abs(unsure - 2 / 3)) / 2
    assert scaled["metrics"]["calibration_error_unscaled"] == pytest.approx(error)


def test_slices_by_length_confidence_and_rating():
    tables = slices(answer(WordPredictor(), DATA))
    assert [(row["from"], row["rows"], row["accuracy"]) for row in tables["tokens"]] == [
        (0, 4, 0.75),
        (256, 1, 0.0),
        (1024, 1, 1.0),
    ]
    assert [(row["from"], row["rows"]) for row in tables["confidence"]] == [(0.7, 3), (0.9, 3)]
    assert [(row["from"], row["rows"], row["accuracy"]) for row in tables["rating"]] == [
        (2, 3, pytest.approx(2 / 3)),
        (8, 2, 0.5),
        (9, 1, 1.0),
    ]


def test_without_ratings_there_is_no_such_slice():
    assert set(slices(answer(WordPredictor(), sentences(4)))) == {"tokens", "confidence"}


class TestCache:
    def test_a_stopped_evaluation_goes_on_where_it_was(self, tmp_path):
        texts = [f"{'good' if index % 3 else 'weak'} {index}" for index in range(700)]
        data = Dataset("many", (*texts[:600], "stop", *texts[600:]), np.arange(701) % 2)
        cache = tmp_path / "answers.npz"
        with pytest.raises(KeyboardInterrupt):
            answer(WordPredictor(), data, cache)
        second, moved = WordPredictor(), []
        rest = Dataset("many", (*texts[:600], "good after all", *texts[600:]), data.labels)
        answers = answer(second, rest, cache, moved.append)
        assert second.asked == list(rest.texts[500:])
        assert (moved[0], sum(moved)) == (500, 701)
        assert np.array_equal(answers.probabilities, answer(WordPredictor(), rest).probabilities)

    def test_a_finished_one_asks_nothing(self, tmp_path):
        answer(WordPredictor(), DATA, tmp_path / "answers.npz")
        again = WordPredictor()
        answers = answer(again, DATA, tmp_path / "answers.npz")
        assert again.asked == []
        assert answers.truncated.tolist() == [False] * 5 + [True]
        assert answers.windows.tolist() == [1, 1, 1, 1, 1, 6]

    def test_answers_to_other_rows_are_not_taken(self, tmp_path):
        answer(WordPredictor(), sentences(4), tmp_path / "answers.npz")
        again = WordPredictor()
        answer(again, DATA, tmp_path / "answers.npz")
        assert again.asked == list(DATA.texts)


def test_the_table_shows_a_row_a_data_set():
    one_class = Dataset("praise", ("good", "weak"), np.array([1, 1]))
    reports = [evaluate(WordPredictor(), data, 1.0)[1] for data in (DATA, one_class)]
    lines = table_of(reports).splitlines()
    assert lines[0].startswith("| data | rows | accuracy | F1 | ROC AUC |")
    assert lines[2] == "| made | 6 | 66.67% | 0.6667 | 0.6667 | 0.7384 | 0.1333 | 0.1333 |"
    assert lines[3].startswith("| praise | 2 | 50.00% | 0.6667 | one class |")


def test_the_slices_are_tables_too():
    _, report = evaluate(WordPredictor(), DATA, 1.0)
    lines = slice_tables(report).splitlines()
    assert "| 0 to 128 | 4 | 75.00% |" in lines
    assert "| 1024 up | 1 | 100.00% |" in lines
    assert "| 2 | 3 | 66.67% |" in lines


def test_our_own_slices_are_counted_by_kind():
    counts = own_slices(WordPredictor())
    assert set(counts) == {"negation", "mixed", "sarcasm"}
    assert all(row["rows"] >= 10 and 0 < row["accuracy"] < 1 for row in counts.values())


def test_draws_the_plots(tmp_path):
    data = sentences(60)
    path = plot_answers(answer(WordPredictor(), data), 1.5, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000
