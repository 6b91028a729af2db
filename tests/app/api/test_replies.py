"""Replies as JSON, and clients that leave."""

import asyncio
import json
import time

import pytest

from app.api.replies import json_response
from app.core.errors import PredictionFailedError
from tests.app.api.asgi import ask
from tests.app.api.predictors import NumbersResponse


def test_numpys_numbers_and_arrays_become_json():
    numpy = pytest.importorskip("numpy")
    reply = json_response(
        {"label": numpy.int64(3), "row": numpy.array([1.5, 2.0]), "model": NumbersResponse(total=1)}
    )
    assert json.loads(reply.body) == {"label": 3, "row": [1.5, 2.0], "model": {"total": 1.0}}


@pytest.mark.parametrize("content", [{"score": float("nan")}, {"score": float("-inf")}, {"score": object()}])
def test_what_json_cannot_hold_is_a_failure_of_the_model(content):
    with pytest.raises(PredictionFailedError):
        json_response(content)


def test_a_reply_is_utf8_and_compact():
    assert json_response({"text": "é 😀", "n": [1, 2]}).body == '{"text":"é 😀","n":[1,2]}'.encode()


def test_a_client_that_leaves_gives_its_place_up(client, gate, log_records, monkeypatch):
    counted: list[str] = []
    monkeypatch.setattr(client.service.log, "count_error", counted.append)

    async def leaving():
        yield {"type": "http.request", "body": b'{"text": "wait"}', "more_body": False}
        while not client.service.server.waiting:
            await asyncio.sleep(0.01)
        yield {"type": "http.disconnect"}

    started = time.monotonic()
    client.run(ask(client.app, leaving()))
    assert time.monotonic() - started < 4
    assert counted == ["client-left"]
    assert log_records[-1]["extra"]["status"] == 499
    assert not [record for record in log_records if record["exception"]]


def test_a_client_that_leaves_amid_its_body_is_no_error_of_ours(client, log_records):
    async def leaving():
        yield {"type": "http.request", "body": b'{"te', "more_body": True}
        yield {"type": "http.disconnect"}

    client.run(ask(client.app, leaving()))
    assert log_records[-1]["extra"]["status"] == 499
    assert not [record for record in log_records if record["exception"]]
