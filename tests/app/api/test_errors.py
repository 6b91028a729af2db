"""One shape for every error, with nothing of what was sent in it."""

import json

import pytest

from app.api.errors import INTERNAL, KINDS, bounded, kind_of, path_of, request_error_response
from app.core import errors


def _leaves(kind: type[Exception]) -> set[type[Exception]]:
    below = set(kind.__subclasses__())
    return below | {leaf for inner in below for leaf in _leaves(inner)}


def test_every_request_error_has_a_reply_of_its_own():
    for kind in _leaves(errors.RequestError):
        if kind.__module__ == "app.core.errors":
            assert any(ancestor in KINDS for ancestor in kind.__mro__), kind
    assert len({kind.name for kind in KINDS.values()}) == len(KINDS)


def test_an_error_of_somebodys_own_is_like_its_parent():
    class TooShortError(errors.InvalidInputError):
        pass

    assert kind_of(TooShortError("too short")).status == 422
    assert kind_of(errors.RequestError("?")) is INTERNAL


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.UnreadableError("no JSON"), 400, {}),
        (errors.UnauthorizedError("no key"), 401, {"www-authenticate": "Bearer"}),
        (errors.SlowBodyError("late"), 408, {"connection": "close"}),
        (errors.TooLargeError("long"), 413, {}),
        (errors.UnsupportedMediaTypeError("xml"), 415, {}),
        (errors.InvalidInputError("blank", 2), 422, {}),
        (errors.OverloadedError("full", 7), 429, {"retry-after": "7"}),
        (errors.PredictionFailedError("failed"), 500, {}),
        (errors.NotReadyError("loading"), 503, {"retry-after": "5"}),
        (errors.DeadlineError("late"), 504, {}),
    ],
)
def test_statuses_and_headers(error, status, headers):
    reply = request_error_response(error, "an-id")
    content = json.loads(reply.body)
    assert reply.status_code == content["status"] == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert content["instance"] == "an-id"
    assert set(content) <= {"type", "title", "status", "detail", "instance", "errors"}
    assert {name: reply.headers.get(name) for name in headers} == headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing/at/all", 404),
        ("PUT", "/predict", 405),
        ("POST", "/health/live", 405),
    ],
)
def test_what_is_not_there_has_the_same_shape(client, method, path, status):
    reply = client.request(method, path)
    content = reply.json()
    assert reply.status_code == content["status"] == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert content["instance"] == reply.headers["x-request-id"]


def test_the_methods_of_a_path_are_named(client):
    assert client.request("DELETE", "/predict").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert client.post("/health/ready").headers["allow"] == "GET, HEAD, OPTIONS"
    options = client.request("OPTIONS", "/predict")
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert client.request("OPTIONS", "/nothing").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"txt": "secret " * 100_000}),
        json.dumps({"secret " * 100_000: 1}),
        json.dumps({"texts": [{"secret": 1}] * 5_000}),
        json.dumps({f"secret{number}" * 9: 1 for number in range(500)}),
        json.dumps({"text": {"secret": "secret " * 10_000}}),
    ],
)
def test_nothing_is_repeated_back_unbounded(client, body):
    reply = client.post("/predict", content=body)
    assert reply.status_code == 422
    assert len(reply.content) < 8_000
    assert "secret secret secret secret secret secret secret" not in reply.text


def test_errors_that_are_too_many_are_counted(client):
    reply = client.post("/predict", json={"texts": [1] * 5_000})
    assert reply.json()["detail"].startswith("5000 fields")
    few = client.post("/predict", json={"texts": [1] * 50}).json()
    assert len(few["errors"]) == 20
    assert few["detail"].endswith("(and 49 more)")


def test_control_characters_of_a_client_do_not_come_back(client):
    reply = client.post("/predict", json={"line\r\nbreak\x1b[31m\u2028": 1})
    assert reply.status_code == 422
    path = reply.json()["errors"][0]["path"]
    assert path == "line\ufffd\ufffdbreak\ufffd[31m\ufffd"


def test_an_unexpected_error_is_a_500_without_internals(client, monkeypatch, log_records):
    async def broken(*_args, **_options):
        raise ZeroDivisionError("in the vault")

    monkeypatch.setattr(client.service.inference, "predict", broken)
    reply = client.post("/predict", json={"text": "good"})
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert "vault" not in reply.text
    assert reply.headers["x-request-id"] == reply.json()["instance"]
    logged = [record for record in log_records if record["exception"]]
    assert [type(record["exception"].value) for record in logged] == [ZeroDivisionError]
    assert logged[0]["extra"]["request_id"] == reply.json()["instance"]


def test_a_clients_error_leaves_no_traceback(client, log_records):
    client.post("/predict", content=b"{")
    client.post("/predict", json={"text": 1})
    client.get("/nothing")
    assert not [record for record in log_records if record["exception"] or record["level"].no > 20]


def test_paths_are_written_as_people_do():
    assert path_of(("texts", 3, "language")) == "texts[3].language"
    assert path_of(()) == ""
    assert path_of((0, "a")) == "[0].a"


def test_bounded_cuts_and_says_so():
    assert bounded("abcdef", 6) == "abcdef"
    assert bounded("abcdefg", 6) == "abcde…"
    assert bounded("a\nb\ud800", 6) == "a\ufffdb\ufffd"
