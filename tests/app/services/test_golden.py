"""A model is served only when it answers as its exporter measured."""

import dataclasses
import math
from typing import Any

import numpy
import pytest
from pydantic import BaseModel

from app.core.errors import GoldenMismatchError
from app.services.artifact import Golden, GoldenExample
from app.services.golden import ModelCheck, check_model
from app.services.predictor import LoadContext, Predictor, load_predictor
from tests.models import KEYWORD_LOADER, model_files, settings_for, tiny_keyword, tiny_onnx


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return model_files(tiny_onnx(tmp_path_factory.mktemp("onnx")))


@pytest.fixture(scope="module")
def predictor(files):
    return load_predictor(files, settings_for())


def with_examples(files, *examples: GoldenExample, tolerance: float = 1e-3):
    golden = Golden(tolerance=tolerance, examples=examples)
    return replace(files, golden)


def replace(files, golden: Golden):
    import dataclasses

    return dataclasses.replace(files, manifest=files.manifest.model_copy(update={"golden": golden}))


def mismatch(predictor, files) -> str:
    with pytest.raises(GoldenMismatchError) as caught:
        check_model(predictor, files)
    return str(caught.value)


def test_right_answers_pass_and_the_difference_is_measured(predictor, files):
    example = files.manifest.golden.examples[0]
    moved = {label: value + 5e-4 for label, value in example.confidences.items()}
    check = check_model(
        predictor, with_examples(files, example, example.model_copy(update={"confidences": moved}))
    )
    assert (check.kind, check.examples) == ("golden", 2)
    assert check.largest_difference == pytest.approx(5e-4, rel=1e-3)


def test_the_largest_difference_is_that_of_all_examples(predictor, files):
    example = files.manifest.golden.examples[0]
    moved = {label: value + 5e-4 for label, value in example.confidences.items()}
    first = example.model_copy(update={"confidences": moved})
    check = check_model(predictor, with_examples(files, first, example))
    assert check.largest_difference == pytest.approx(5e-4, rel=1e-3)


def test_a_label_alone_is_enough_and_measures_nothing(predictor, files):
    label_alone = with_examples(files, GoldenExample(input="good", label="positive"))
    assert check_model(predictor, label_alone) == ModelCheck("golden", 1, None)


def test_a_wrong_label_is_told_by_number_and_not_by_text(predictor, files):
    right = files.manifest.golden.examples[0]
    wrong = GoldenExample(input="awful secret plot", label="positive")
    message = mismatch(predictor, with_examples(files, right, wrong))
    assert message == "golden example 2 of 2: expected the label 'positive', got 'negative'"


def test_a_probability_out_of_tolerance_is_told_with_the_difference(predictor, files):
    right = files.manifest.golden.examples[0]
    moved = right.model_copy(update={"confidences": {"positive": right.confidences["positive"] - 0.02}})
    message = mismatch(predictor, with_examples(files, moved))
    assert "golden example 1 of 1: confidence of positive: expected 0." in message
    assert "0.02 apart, at most 0.001 is allowed" in message
    assert check_model(predictor, with_examples(files, moved, tolerance=0.03)).kind == "golden"


def test_an_unknown_label_and_an_example_that_expects_nothing_are_mistakes(predictor, files):
    unknown = GoldenExample(input="good", confidences={"neutral": 0.5})
    assert "confidence of neutral: expected 0.5, got None" in mismatch(
        predictor, with_examples(files, unknown)
    )
    assert "it expects nothing" in mismatch(predictor, with_examples(files, GoldenExample(input="good")))


def test_an_input_that_the_model_does_not_take_is_a_mistake(predictor, files):
    message = mismatch(predictor, with_examples(files, GoldenExample(input=[1.0], label="positive")))
    assert "its input is not what the model takes: unknown key 'features'" in message
    message = mismatch(predictor, with_examples(files, GoldenExample(input="  ", label="positive")))
    assert "the model failed: InvalidInputError: the text is blank" in message


def test_without_examples_one_prediction_is_tried(predictor, files):
    assert check_model(predictor, replace(files, Golden())) == ModelCheck("smoke", 1)


class Empty(BaseModel):
    """Takes and gives nothing."""


class Own(Predictor):
    """Answers what it is told to."""

    Request = Empty
    Response = Empty

    def __init__(self, output: Any, item: Any = "item") -> None:
        self.output, self.item = output, item

    @classmethod
    def load(cls, path, context: LoadContext) -> "Own":
        raise NotImplementedError

    def predict(self, batch):
        if isinstance(self.output, Exception):
            raise self.output
        return [self.output]

    def smoke_item(self):
        return self.item

    def describe(self):
        return {"warnings": ["pickled by another version"]}


@pytest.mark.parametrize("output", [math.nan, {"a": [1.0, math.inf]}, (1, {"b": {"c": -math.inf}})])
def test_a_first_prediction_must_be_finite(files, output):
    assert "not finite" in mismatch(Own(output), replace(files, Golden()))


def test_a_first_prediction_that_fails_tells_the_cause_and_the_warnings(files):
    message = mismatch(Own(AttributeError("no coef_")), replace(files, Golden()))
    assert message == (
        "the model failed on a first prediction: AttributeError: no coef_ "
        "(when it was loaded: pickled by another version)"
    )


def test_a_model_without_an_item_to_try_is_not_checked(files):
    assert check_model(Own({}, item=None), replace(files, Golden())) == ModelCheck("none")


def test_replies_of_a_class_of_ones_own_are_compared_deeply(tmp_path):
    files = model_files(tiny_keyword(tmp_path))
    predictor = load_predictor(files, settings_for(KEYWORD_LOADER))
    assert check_model(predictor, files).largest_difference < 1e-9
    body = {"title": "Fine", "review": "A good and funny film."}
    for output, message in (
        ({"verdict": "negative"}, "verdict: expected 'negative', got 'positive'"),
        ({"hits": 3}, "hits: expected 3, got 2, 1 apart"),
        ({"absent": 1.5}, "absent: expected 1.5, got None"),
        ({"score": {"inner": 1.0}}, "score.inner: expected 1, got None"),
        ({"score": [1.0]}, "score: expected a list of 1, got 0.33"),
    ):
        assert message in mismatch(predictor, with_examples(files, GoldenExample(input=body, output=output)))


def test_nested_numbers_are_within_the_tolerance(files):
    output = {"scores": [{"name": "a", "value": 0.5}, {"name": "b", "value": 0.25}], "flag": True}
    example = GoldenExample(input={}, output={"scores": [{"value": 0.5005}, {"name": "b"}], "flag": True})
    check = check_model(Own(output), with_examples(files, example))
    assert check.largest_difference == pytest.approx(5e-4)
    wrong = GoldenExample(input={}, output={"flag": False})
    assert "flag: expected False, got True" in mismatch(Own(output), with_examples(files, wrong))


class Row(BaseModel):
    age: float


@dataclasses.dataclass
class Nested:
    values: Any


@pytest.mark.parametrize(
    "hidden",
    [
        Nested(float("nan")),
        Row(age=math.nan),
        {"a": [Nested((1.0, float("inf")))]},
        numpy.array([1.0, float("nan")]),
        numpy.float32("nan"),
    ],
    ids=["dataclass", "model", "nested", "array", "scalar"],
)
def test_a_number_that_is_not_finite_is_found_wherever_it_hides(files, hidden):
    assert "not finite" in mismatch(Own(hidden), replace(files, Golden()))


class Rows(BaseModel):
    rows: list[Row]


class Replying(Own):
    """Replies with something else than what its model puts out."""

    Request = Rows

    def __init__(self, output: Any, reply: dict[str, Any]) -> None:
        super().__init__(output)
        self.reply = reply

    def join(self, request, items, outputs):
        return self.reply

    def describe(self):
        return {}


def test_what_is_wrong_with_an_input_is_told_with_its_place(files):
    example = GoldenExample(input={"rows": [{"age": 1}, {"age": "old"}]}, label="a")
    assert mismatch(Replying({}, {}), with_examples(files, example)).startswith(
        "golden example 1 of 1: its input is not what the model takes: rows.1.age: Input should be a valid number"
    )


def test_an_answer_is_that_of_the_model_and_what_it_lacks_is_taken_from_the_reply(files):
    rounded = Replying({"confidences": {"a": 0.123456}}, {"label": "a", "confidences": {"a": 0.12}})
    example = GoldenExample(input={"rows": []}, label="a", confidences={"a": 0.123456})
    assert check_model(rounded, with_examples(files, example)) == ModelCheck("golden", 1, 0.0)


def test_a_place_in_a_list_and_what_was_got_there_are_told(files):
    for got, expected, message in (
        ([0.5, 0.25], [0.5, 0.75], "scores[1]: expected 0.75, got 0.25, 0.5 apart"),
        ([0.5, "high"], [0.5, 0.75], "scores[1]: expected 0.75, got 'high'"),
    ):
        example = GoldenExample(input={}, output={"scores": expected})
        assert message in mismatch(Own({"scores": got}), with_examples(files, example))
    example = GoldenExample(input={}, confidences={"a": 0.5})
    told = mismatch(Own({"confidences": [0.5]}), with_examples(files, example))
    assert "confidence of a: expected 0.5, got None" in told


def test_a_difference_as_large_as_the_tolerance_is_allowed(files):
    example = GoldenExample(input={}, output={"score": 0.5})
    check = check_model(Own({"score": 0.5 + 2**-6}), with_examples(files, example, tolerance=2**-6))
    assert check.largest_difference == 2**-6


@pytest.mark.parametrize(
    ("answer", "told"),
    [("y" * 58, f"'{'y' * 58}'"), ("y" * 59, f"'{'y' * 59}…"), ("y" * 5_000, f"'{'y' * 59}…")],
)
def test_a_long_answer_is_told_by_its_beginning(files, answer, told):
    example = GoldenExample(input={"rows": []}, output={"text": "x"})
    message = mismatch(Replying({}, {"text": answer}), with_examples(files, example))
    assert message == f"golden example 1 of 1: text: expected 'x', got {told}"


def test_a_long_error_of_a_model_is_told_by_its_beginning(files):
    message = mismatch(Own(ValueError("x" * 5_000)), replace(files, Golden()))
    assert f"ValueError: {'x' * 300} (when it was loaded" in message
