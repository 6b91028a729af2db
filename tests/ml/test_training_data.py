"""The rows of a training: nothing of the test set or of validation is learned from."""

import numpy as np
import pytest

from ml import training_data
from ml.dataset import Dataset, DatasetError
from ml.training_data import assemble
from tests.ml.samples import sentences


def assembled(main: Dataset, *held_out: Dataset, **options):
    lines: list[str] = []
    data = assemble(main, held_out, progress=lines.append, **{"validation_share": 0.25, **options})
    return data, lines


def test_splits_by_film_and_takes_the_test_set_out():
    main = sentences(120)
    test = main.take(range(0, 120, 10))
    data, lines = assembled(main, test)
    assert not set(data.training.texts + data.validation.texts) & set(test.texts)
    assert len(data.training) + len(data.validation) == 108
    assert not set(data.training.films) & set(data.validation.films)
    assert lines[0] == "made: 120 rows, 50.0% positive, 0 duplicates, 0 contradictions"
    assert lines[1] == "12 rows left out: duplicates, or texts of made"


def test_without_a_teacher_targets_are_the_labels():
    data, _ = assembled(sentences(80))
    assert data.targets.argmax(axis=1).tolist() == data.training.labels.tolist()
    assert set(data.targets.ravel().tolist()) == {0, 1}


def test_extra_texts_are_learned_from_but_never_those_of_validation():
    main, more = sentences(80, seed=1), sentences(40, seed=2)
    test = more.take(range(5))
    alone, _ = assembled(main)
    leak = alone.validation.take(range(3))
    data, _ = assembled(main, test, extra=[more, leak])
    assert data.validation.digest() == alone.validation.digest()
    assert not set(data.training.texts) & set(data.validation.texts + test.texts)
    assert set(more.texts[5:]) - set(data.validation.texts) <= set(data.training.texts)
    assert len(data.targets) == len(data.training)


def test_the_teacher_softens_main_targets_only_and_is_asked_once(tmp_path, monkeypatch):
    main, more = sentences(100, seed=1), sentences(20, seed=2)
    first, lines = assembled(main, extra=[more], teacher_share=0.5, folder=tmp_path)
    rows = len(main) - len(first.validation)
    assert first.targets.sum(axis=1) == pytest.approx(np.ones(len(first.training)))
    assert ((first.targets[:rows] > 0) & (first.targets[:rows] < 1)).all()
    assert set(first.targets[rows:].ravel().tolist()) <= {0, 1}
    assert "the teacher is right about" in lines[-1]

    monkeypatch.setattr(training_data, "out_of_fold", lambda *_: pytest.fail("asked again"))
    again, _ = assembled(main, extra=[more], teacher_share=0.5, folder=tmp_path)
    assert np.array_equal(again.targets, first.targets)
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        assembled(main, extra=[more], teacher_share=0.5, folder=tmp_path, validation_share=0.4)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_refuses_a_split_that_leaves_one_side_without_a_class(share):
    with pytest.raises(
        DatasetError, match="does not hold both classes: give more rows or another validation"
    ):
        assembled(sentences(40), validation_share=share)


def test_refuses_data_with_one_class():
    with pytest.raises(DatasetError, match="made: only one class is present"):
        assembled(sentences(40).take(range(0, 40, 2)))
