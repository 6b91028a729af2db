"""What a body must look like, and what a client is told when it does not."""

import pytest
from pydantic import ValidationError

from app.models.prediction import TabularReply, TabularRequest, TextReply, TextRequest


def refusal(kind, body: str) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate_json(body)
    (problem,) = caught.value.errors(include_url=False, include_input=False)
    assert "secret" not in str(caught.value).replace("secret_key", "")
    return ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")


def test_one_text_or_several_are_taken():
    assert TextRequest.model_validate_json('{"text": ""}').items == [""]
    assert TextRequest.model_validate_json('{"texts": ["a", "b"]}').items == ["a", "b"]
    assert TextRequest.model_validate_json('{"text": null, "texts": ["a"]}').items == ["a"]


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ("{}", "", "send either 'text' or 'texts'"),
        ('{"text": null}', "", "send either 'text' or 'texts'"),
        ('{"text": "secret", "texts": ["secret"]}', "", "send either 'text' or 'texts'"),
        ('{"secret_key": "secret"}', "", "unknown key 'secret_key': send 'text' or 'texts'"),
        ('{"text": ["secret"]}', "text", "Input should be a valid string"),
        ('{"text": 12}', "text", "Input should be a valid string"),
        ('{"texts": "secret"}', "texts", "Input should be a valid array"),
        ('{"texts": ["secret", 1, 2]}', "texts.1", "Input should be a valid string"),
        ('["secret"]', "", "Input should be an object"),
        ("null", "", "Input should be an object"),
    ],
)
def test_a_refused_text_body_is_told_why_and_is_not_repeated(body: str, place: str, message: str):
    assert refusal(TextRequest, body) == (place, message)


def test_an_empty_list_is_refused():
    assert refusal(TextRequest, '{"texts": []}')[0] == "texts"
    assert refusal(TabularRequest, '{"instances": []}')[0] == "instances"


def test_many_long_unknown_keys_make_a_short_message():
    body = "{" + ",".join(f'"{"k" * 5_000}{index}": 1' for index in range(50)) + "}"
    message = refusal(TextRequest, body)[1]
    assert "and 47 more" in message
    assert len(message) < 250


def test_rows_of_finite_numbers_are_taken():
    assert TabularRequest.model_validate_json('{"features": [1, 2.5, -3e5]}').items == [[1.0, 2.5, -3e5]]
    assert TabularRequest.model_validate_json('{"instances": [[1], [2]]}').items == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", '"nan"', '"1"', "true", "null", "[1]"]
)
def test_what_is_no_finite_number_is_refused_by_its_place(number: str):
    assert refusal(TabularRequest, f'{{"features": [1, {number}]}}')[0] == "features.1"
    assert refusal(TabularRequest, f'{{"instances": [[1], [2, {number}]]}}')[0] == "instances.1.1"


@pytest.mark.parametrize(
    ("kind", "one", "many"), [(TextRequest, "text", "texts"), (TabularRequest, "features", "instances")]
)
def test_the_schema_says_exactly_one(kind, one: str, many: str):
    schema = kind.model_json_schema()
    assert schema["oneOf"] == [{"required": [one]}, {"required": [many]}]
    assert "anyOf" not in str(schema["properties"])
    for example in schema["examples"]:
        kind.model_validate(example)


def test_replies_have_a_form_for_one_and_for_several():
    model = {"name": "sentiment", "version": "v3", "digest": "d"}
    text = {
        "id": "1",
        "text": "a",
        "sentiment": "Positive",
        "confidences": {"positive": 1.0},
        "tokens": 1,
        "windows": 1,
    }
    for reply in (
        {**text, "truncated": False, "model": model},
        {"id": "1", "predictions": [], "model": model},
    ):
        TextReply.model_validate(reply)
    TabularReply.model_validate({"id": "1", "value": 3.5, "model": model})
    with pytest.raises(ValidationError):
        TextReply.model_validate({"id": "1", "model": model})
