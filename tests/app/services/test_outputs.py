"""What numbers mean: names, logits, probabilities."""

import json
import math

import pytest

from app.core.errors import ModelLoadError
from app.services.outputs import (
    Meaning,
    check_labels,
    choose_labels,
    meaning_of,
    probabilities,
    read_config,
    sigmoid,
    softmax,
)


def test_large_logits_do_not_overflow():
    assert softmax([1e4, 0.0]) == [1.0, 0.0]
    assert softmax([0.0, 0.0, 0.0]) == pytest.approx([1 / 3] * 3)
    assert sigmoid(-1e4) == 0.0
    assert sigmoid(1e4) == 1.0
    assert sigmoid(math.log(3)) == pytest.approx(0.75)
    assert sigmoid(-math.log(3)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("rows", "activation", "meaning"),
    [
        ([[0.9]], "sigmoid", Meaning.PROBABILITY),
        ([[0.9], [0.2]], None, Meaning.PROBABILITY),
        ([[-1e-3], [1 + 1e-3]], None, Meaning.PROBABILITY),
        ([[0.9], [-2.0]], None, Meaning.LOGIT),
        ([[0.9], [1.5]], None, Meaning.LOGIT),
        ([[0.9]], "linear", Meaning.LOGIT),
        ([[0.25, 0.75]], "softmax", Meaning.PROBABILITIES),
        ([[0.2, 0.3, 0.5]], None, Meaning.PROBABILITIES),
        ([[0.2, 0.3]], "linear", Meaning.LOGITS),
        ([[-1.5, 2.0]], None, Meaning.LOGITS),
    ],
)
def test_outputs_are_told_apart(rows, activation, meaning):
    assert meaning_of(rows, activation) is meaning


@pytest.mark.parametrize(("activation", "told"), [("sigmoid", "sigmoid"), (None, "of an unknown activation")])
def test_several_sigmoids_are_refused(activation, told):
    with pytest.raises(ModelLoadError) as caught:
        meaning_of([[0.9, 0.8]], activation)
    assert str(caught.value) == (
        f"the outputs ({told}) are neither logits nor probabilities that sum to 1; several labels at once need "
        "a class of one's own (MODEL_LOADER=package.module:Class)"
    )


@pytest.mark.parametrize(
    ("row", "meaning"),
    [
        ([0.9], Meaning.PROBABILITY),
        ([math.log(9)], Meaning.LOGIT),
        ([0.1, 0.9], Meaning.PROBABILITIES),
        ([0.0, math.log(9)], Meaning.LOGITS),
    ],
)
def test_each_form_gives_the_same_probabilities_and_is_softened_alike(row, meaning):
    assert probabilities(row, meaning) == pytest.approx([0.1, 0.9])
    assert probabilities(row, meaning, temperature=2) == pytest.approx([0.25, 0.75])


def test_labels_of_the_manifest_go_before_those_of_the_config():
    config = {"id2label": {"0": "POSITIVE", "1": "NEGATIVE"}}
    assert choose_labels(("no", "yes"), config, 2) == ("no", "yes")
    assert choose_labels((), config, 2) == ("POSITIVE", "NEGATIVE")
    assert choose_labels((), {"id2label": {"1": "b", "0": "a"}}, None) == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        ((), 2, "the outputs have no names"),
        (("LABEL_0", "LABEL_1"), 2, "say nothing"),
        (("negative", " "), 2, "say nothing"),
        (("negative", "negative"), 2, "given twice"),
        (("negative", "neutral", "positive"), 2, "2 outputs and 3 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, outputs, message):
    with pytest.raises(ModelLoadError, match=message):
        choose_labels(labels, {}, outputs)
    if labels:
        with pytest.raises(ModelLoadError, match=message):
            check_labels(labels, outputs)


@pytest.mark.parametrize("names", [{"0": "a", "2": "b"}, {"zero": "a"}])
def test_ids_with_a_gap_are_refused(names):
    with pytest.raises(ModelLoadError, match="without a gap"):
        choose_labels((), {"id2label": names}, 2)


@pytest.mark.parametrize("names", [["a", "b"], "ab", {}, None])
def test_names_that_are_no_object_are_none(names):
    with pytest.raises(ModelLoadError, match="the outputs have no names"):
        choose_labels((), {"id2label": names}, 2)


def test_a_config_that_is_no_object_is_refused(tmp_path):
    assert read_config(tmp_path) == {}
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ModelLoadError, match=r"config\.json is no JSON"):
            read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 3}))
    assert read_config(tmp_path) == {"vocab_size": 3}
