"""What is accepted as a body, and in which words the rest is refused."""

import json

import pytest
from pydantic import BaseModel, ConfigDict

from app.api.body import strict_json, validate
from app.core.errors import InvalidFieldsError, InvalidInputError, UnreadableError

GOOD = b'{"text": "good"}'


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8",
        'application/json; charset="utf-8"; version=1',
        "application/vnd.acme+json",
        "text/plain",
        "text/plain;charset=UTF-8",
    ],
)
def test_json_is_taken_under_the_types_that_clients_send(client, kind):
    headers = {} if kind is None else {"content-type": kind}
    assert client.post("/predict", content=GOOD, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "text/html",
        "nonsense",
        "application/jsonx",
    ],
)
def test_another_type_is_told_what_to_send(client, kind):
    reply = client.post("/predict", content=b"text=good", headers={"content-type": kind})
    assert (reply.status_code, reply.json()["title"]) == (415, "The content type is not taken")
    assert "application/json" in reply.json()["detail"]


@pytest.mark.parametrize(
    "header", [{"content-type": "application/json; charset=utf-16"}, {"content-encoding": "gzip"}]
)
def test_another_encoding_is_told_what_to_send(client, header):
    reply = client.post("/predict", content=GOOD, headers=header)
    assert reply.status_code == 415
    assert "JSON" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "no JSON"),
        (b"text=good", "no JSON"),
        (b'{"text": "good"} {"text": "bad"}', "no JSON"),
        (b"{'text': 'good'}", "no JSON"),
        (b'{"text": "one\ntwo"}', r"written \n"),
        (b'{"text": "go\xffod"}', "UTF-8"),
        (b'\xff\xfe{\x00"\x00', "UTF-8"),
        (b'{"text": "a", "text": "b"}', "'text' is given twice"),
        (b'{"texts": [{"a": 1, "b": 2, "a": 3}]}', "'a' is given twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"text":' * 900 + b"1" + b"}" * 900, "nested too deeply"),
        (b"[" * 300 + b"]" * 300, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_a_400_in_words(client, body, words):
    reply = client.post("/predict", content=body)
    assert reply.status_code == 400
    assert reply.json()["type"] == "urn:marquee:problem:unreadable"
    assert words in reply.json()["detail"]
    assert len(reply.content) < 1_000


def test_a_byte_order_mark_is_no_part_of_the_json(client):
    assert client.post("/predict", content=b"\xef\xbb\xbf" + GOOD).status_code == 200


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(InvalidInputError, match="too many digits"):
        strict_json(b"[" + b"1" * 5_000 + b"]")


def test_large_numbers_that_are_finite_pass():
    assert strict_json(b'[1e308, 1e-999, "1e999", ' + b"1" * 250 + b"]")


def test_the_quoted_word_is_no_finite_number_for_a_class_that_says_so():
    class Strict(BaseModel):
        model_config = ConfigDict(allow_inf_nan=False)
        features: list[float]

    with pytest.raises(InvalidFieldsError) as caught:
        validate(Strict, strict_json(b'{"features": [1, "nan"]}'))
    assert caught.value.fields[0][0] == "features[1]"


def test_surrogates_are_replaced_in_keys_and_values_and_nothing_else_changes():
    content = {"a": [1, 2.5, 1e300, True, None, "é😀\\ud800"], "b": {"c": ""}}
    body = json.dumps({**content, "half": "\ud800"}).encode()
    assert json.loads(strict_json(body)) == {**content, "half": "\ufffd"}


def test_a_pair_that_is_escaped_is_one_character():
    assert json.loads(strict_json(rb'["\ud83d\ude00"]')) == ["😀"]


def test_strict_classes_read_json_as_json():
    """A tuple comes as an array, which pydantic takes in JSON only."""

    class Point(BaseModel):
        model_config = ConfigDict(strict=True)
        place: tuple[float, float]

    assert validate(Point, strict_json(b'{"place": [1, 2]}')).place == (1.0, 2.0)


def test_the_same_key_in_two_objects_is_no_duplicate():
    assert strict_json(b'[{"a": 1}, {"a": 2}, {"a": {"a": 3}}]')


def test_deep_nesting_is_never_a_crash():
    for depth in (190, 500, 990, 1_000, 5_000, 50_000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            try:
                strict_json(opening * depth + b"1" + closing * depth)
            except UnreadableError as error:
                assert "nested" in str(error)  # noqa: PT017
