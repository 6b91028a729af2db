"""The n-gram teacher is asked only about texts, and films, that it has not seen."""

import numpy as np
import pytest

from ml.dataset import Dataset
from ml.teacher import out_of_fold, soft_targets
from tests.ml.samples import sentences


def test_answers_what_it_has_not_seen():
    data = sentences(120, films=20)
    answers = out_of_fold(data, folds=5, seed=0)
    assert answers.dtype == np.float32
    assert ((answers > 0.5) == data.labels).mean() > 0.9


@pytest.mark.parametrize(
    "films", [(), tuple(f"tt{index % 20}" for index in range(120))], ids=["text", "film"]
)
def test_labels_that_only_memory_could_know_are_not_known(films):
    # Each film has one name, which alone tells the label: who has seen the film is always right.
    labels = np.array([index % 20 // 10 for index in range(120)])
    if films:
        texts = tuple(f"this picture is called name{index % 20} number{index}" for index in range(120))
    else:
        texts = tuple(f"this picture is called name{index}" for index in range(120))
    answers = out_of_fold(Dataset("made", texts, labels, films), folds=5, seed=0)
    right = ((answers > 0.5) == labels).mean()
    assert right < 0.7


def test_a_film_that_was_seen_would_be_known():
    labels = np.array([index % 20 // 10 for index in range(120)])
    texts = tuple(f"this picture is called name{index % 20} number{index}" for index in range(120))
    answers = out_of_fold(Dataset("made", texts, labels), folds=5, seed=0)
    assert ((answers > 0.5) == labels).all()


def test_targets_mix_labels_and_answers():
    labels, answers = np.array([0, 1]), np.array([0.4, 0.9], dtype=np.float32)
    targets = soft_targets(labels, answers, 0.25)
    assert targets == pytest.approx(np.array([[0.9, 0.1], [0.025, 0.975]]))
    assert targets.dtype == np.float32
    assert soft_targets(labels, None, 0.25).tolist() == [[1, 0], [0, 1]]
