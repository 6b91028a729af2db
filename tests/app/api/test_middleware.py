"""Request ids, traces, the access line, and limits while a body is read."""

import json
import re

import pytest
from starlette.datastructures import Headers

from app.api.middleware import trace_of
from tests.app.api.asgi import ask, chunks

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_request_id_is_given_back(client):
    assert (
        client.get("/health/live", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"]
        == "abc-1.2_3"
    )


@pytest.mark.parametrize("given", ["", "has blank", "a" * 129, "<script>", "é".encode(), "a;b", "a\tb"])
def test_an_id_that_is_none_is_replaced(client, given):
    made = client.get("/health/live", headers={"x-request-id": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_ids_that_are_made_differ(client):
    made = {client.get("/health/live").headers["x-request-id"] for _ in range(5)}
    assert len(made) == 5


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"traceparent": f"cc-{TRACE}-b7ad6b7169203331-01-what-comes"}, TRACE),
        ({"x-cloud-trace-context": f"{TRACE}/123;o=1"}, TRACE),
        ({"x-cloud-trace-context": TRACE}, TRACE),
        ({"traceparent": "00-xyz-1-1", "x-cloud-trace-context": f"{TRACE}/1"}, TRACE),
        ({"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-b7ad6b7169203331-01"}, None),
        ({"x-cloud-trace-context": "nonsense\n"}, None),
        ({}, None),
    ],
)
def test_the_trace_of_a_request(headers, trace):
    assert trace_of({"headers": Headers(headers).raw}) == trace


def test_the_access_line_tells_id_method_path_status_and_time_but_no_text(client, log_records):
    client.get(
        "/predict",
        params={"text": "a private good text"},
        headers={"x-request-id": "the-id", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )
    line = log_records[-1]
    assert re.fullmatch(r"GET /predict 200 in \d+\.\d ms", line["message"])
    assert line["extra"]["request_id"] == "the-id"
    assert line["extra"]["trace"] == TRACE
    assert line["extra"]["status"] == 200
    assert line["extra"]["milliseconds"] > 0
    assert not [record for record in log_records if "private" in str(record)]


def test_a_path_cannot_break_the_log_line(client, log_records):
    client.get("/a%0A2026-01-01 INFO forged%1b[31m" + "x" * 5_000)
    line = log_records[-1]["message"]
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 1_000


def test_probes_are_logged_for_those_who_look(client, log_records):
    client.get("/health/live")
    client.get("/health/ready")
    client.get("/api/v1/model")
    assert [record["level"].name for record in log_records] == ["DEBUG", "DEBUG", "INFO"]


def test_the_slash_at_the_end_of_an_address_is_left_out(client):
    assert client.post("/predict/", json={"text": "good"}).status_code == 200
    assert client.get("/api/v1/health/").status_code == 200
    assert client.get("/nothing/").status_code == 404


def test_a_body_over_the_limit_is_refused_before_it_is_read(make_client):
    client = make_client(max_body_bytes=2_000)

    async def unread():
        raise AssertionError("the body was read")
        yield

    for length in ("2001", "9" * 30, "9" * 5_000):
        status, _, body = client.run(ask(client.app, unread(), headers={"content-length": length}))
        assert status == 413
        assert json.loads(body)["detail"] == "the body is larger than 2000 bytes"


@pytest.mark.parametrize("declared", [{}, {"content-length": "5"}, {"transfer-encoding": "chunked"}])
def test_a_body_over_the_limit_is_cut_off_while_it_is_read(make_client, declared):
    """Whatever was declared: memory stays at the limit."""
    client = make_client(max_body_bytes=2_000)
    given = 0

    async def endless():
        nonlocal given
        while True:
            given += 1
            yield {"type": "http.request", "body": b"x" * 500, "more_body": True}

    status, _, body = client.run(ask(client.app, endless(), headers=declared))
    assert status == 413
    assert json.loads(body)["type"] == "urn:marquee:problem:too-large"
    assert given == 5


def test_a_body_at_the_limit_is_taken(make_client):
    client = make_client(max_body_bytes=2_000)
    frame = b'{"text": ""}'
    body = b'{"text": "' + b"a" * (2_000 - len(frame)) + b'"}'
    assert client.post("/predict", content=body).status_code == 200
    assert client.post("/predict", content=body + b" ").status_code == 413


def test_a_body_in_many_parts_is_one(client):
    parts = [bytes([byte]) for byte in '{"text": "good é"}'.encode()]
    status, _, body = client.run(ask(client.app, chunks(*parts)))
    assert status == 200
    assert json.loads(body)["text"] == "good é"


def test_a_body_that_does_not_come_is_given_up(make_client):
    client = make_client(request_timeout_seconds=0.1)
    status, headers, body = client.run(ask(client.app, chunks(b'{"text"', more=True)))
    assert status == 408
    assert headers["connection"] == "close"
    assert json.loads(body)["type"] == "urn:marquee:problem:slow-body"


def test_bodies_of_all_requests_together_are_limited_and_given_back(make_client):
    """64 of the largest size; who comes then is told to come again, and once they are answered there is room."""
    client = make_client(max_body_bytes=2_000)

    async def scenario():
        import asyncio

        end = asyncio.Event()

        async def slow():
            yield {"type": "http.request", "body": b" " * 1_990, "more_body": True}
            await end.wait()
            yield {"type": "http.request", "body": b"{}", "more_body": False}

        slow_ones = [asyncio.ensure_future(ask(client.app, slow())) for _ in range(64)]
        await asyncio.sleep(0.2)
        refused = await ask(client.app, chunks(b'{"text": "good"}' + b" " * 1_900))
        end.set()
        answers = await asyncio.gather(*slow_ones)
        return (
            refused,
            {status for status, _, _ in answers},
            await ask(client.app, chunks(b'{"text": "good"}')),
        )

    refused, slow_ones, later = client.run(scenario())
    assert refused[0] == 429
    assert int(refused[1]["retry-after"]) >= 1
    assert slow_ones == {422}
    assert later[0] == 200


def test_open_requests_are_counted(client, gate):
    async def during():
        import asyncio

        task = asyncio.ensure_future(ask(client.app, chunks(b'{"text": "wait"}')))
        while not client.service.server.waiting:
            await asyncio.sleep(0.01)
        counted = client.service.lifecycle.open_requests
        gate.set()
        await task
        return counted

    assert client.run(during()) == 1
    assert client.service.lifecycle.open_requests == 0


def test_a_reply_that_breaks_off_is_logged_and_not_answered_twice(client, log_records):
    """A second start of a response would break the connection for the server."""

    def broken(message):
        if message["type"] == "http.response.body":
            raise OSError("the pipe is broken")

    client.run(ask(client.app, chunks(b'{"text": "good"}'), on_message=broken))
    assert [type(record["exception"].value) for record in log_records if record["exception"]] == [OSError]
