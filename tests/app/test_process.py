"""The real process: what it says, how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.fixtures_process import ROOT, START_SECONDS, post, wait_until_ready

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PORT": "abc"}, "PORT: Input should be a valid integer"),
        ({"LOCAL_MODEL_NAME": "nothing"}, "nothing"),
        ({"MODEL_LOADER": "nowhere.at:All"}, "nowhere"),
        ({"MODEL_PARAMETERS": '{"refuse": "these are no words"}'}, "these are no words"),
        ({"HOST": "203.0.113.1"}, "cannot listen on 203.0.113.1"),
    ],
)
def test_what_cannot_serve_says_why_in_one_line_and_ends_with_1(start, variables, words):
    process = start(**variables)
    assert process.end() == 1
    fatal = [line for line in process.lines if " CRITICAL " in line]
    assert len(fatal) == 1, process.lines
    assert words in fatal[0]
    everything = "\n".join(process.lines)
    assert "Traceback" not in everything
    assert not [line for line in process.lines if " ERROR " in line or " WARNING " in line]


def test_the_line_is_cloud_loggings_on_cloud_run_and_holds_no_secret(start):
    process = start(K_SERVICE="reviews", LOG_FORMAT="", WANDB_API_KEY="two secret words")
    assert process.end() == 1
    (line,) = process.lines
    assert json.loads(line)["severity"] == "CRITICAL"
    assert "WANDB_API_KEY" in line
    assert "secret words" not in line


def test_a_port_that_is_taken_is_named(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(PORT=str(port))
        assert process.end() == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in process.lines[-1]


def test_it_answers_while_loading_then_serves_and_ends_with_0(start):
    process = start(MODEL_PARAMETERS='{"load_seconds": 2}')
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        assert client.get("/health/live").status_code == 200
        early = client.post("/predict", json={"text": "good"})
        assert early.status_code == 503
        assert early.headers["retry-after"]
        wait_until_ready(client)
        assert client.post("/predict", json={"text": "good"}).json()["sentiment"] == "Positive"
        assert client.head("/health/ready").status_code == 200
        assert process.end(signal.SIGTERM) == 0
    assert not [line for line in process.lines if " ERROR " in line]
    assert process.lines[-1].endswith("stopped")


def test_a_request_in_flight_is_answered_before_the_end(start):
    process = start(MODEL_PARAMETERS='{"seconds": 1.5}')
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        wait_until_ready(client)
        with ThreadPoolExecutor(2) as threads:
            replies = [threads.submit(post, process.address) for _ in range(2)]
            while client.get("/api/v1/health").json()["waiting"] < 2:
                time.sleep(0.02)
            process.process.send_signal(signal.SIGTERM)
            assert [reply.result().status_code for reply in replies] == [200, 200]
        assert process.end() == 0


def test_what_takes_longer_than_the_time_to_stop_is_told_so(start):
    process = start(SHUTDOWN_SECONDS="2")
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        wait_until_ready(client)
        with ThreadPoolExecutor(1) as threads:
            reply = threads.submit(post, process.address, "wait")
            while not client.get("/api/v1/health").json()["waiting"]:
                time.sleep(0.02)
            started = time.monotonic()
            assert process.end(signal.SIGTERM) == 0
            assert time.monotonic() - started < 10
            assert reply.result().status_code == 503
    assert not [line for line in process.lines if "Traceback" in line]


def test_a_client_that_never_sends_its_body_does_not_hold_the_end_up(start):
    process = start(SHUTDOWN_SECONDS="2")
    host, port = process.address.removeprefix("http://").split(":")
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        wait_until_ready(client)
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            while client.get("/api/v1/health").json()["open_requests"] < 2:
                time.sleep(0.02)
            started = time.monotonic()
            process.process.send_signal(signal.SIGTERM)
            slow.settimeout(START_SECONDS)
            assert slow.recv(65_536).startswith(b"HTTP/1.1 503")
            assert process.end() == 0
            assert time.monotonic() - started < 10
    assert not [line for line in process.lines if "Traceback" in line]


def test_a_signal_amid_the_load_ends_it_at_once(start):
    process = start(MODEL_PARAMETERS='{"load_seconds": 80}')
    assert httpx.get(process.address + "/health/live", timeout=START_SECONDS).status_code == 200
    started = time.monotonic()
    assert process.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_body_over_the_limit_is_refused_over_a_real_connection(start, framing):
    process = start(MAX_BODY_BYTES="2000")
    body = b'{"text": "' + b"x" * 3_000_000 + b'"}'
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        wait_until_ready(client)
        content = body if framing == "declared" else iter([body[:1_500_000], body[1_500_000:]])
        reply = client.post("/predict", content=content)
        assert reply.status_code == 413
        assert reply.json()["type"] == "urn:marquee:problem:too-large"
        assert client.post("/predict", json={"text": "good"}).status_code == 200
        assert process.end(signal.SIGTERM) == 0


def test_help_names_every_variable():
    from app.core.config import Settings

    done = subprocess.run(
        [sys.executable, "-m", "app", "--help"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=ROOT,
        timeout=START_SECONDS,
    )
    for name in Settings.model_fields:
        assert re.search(rf"^  {name.upper()}\b", done.stdout, re.MULTILINE), name


def test_a_plain_server_ends_with_an_error_when_the_model_cannot_be_loaded(start):
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", "0"]
    process = start(command, MODEL_PARAMETERS='{"refuse": "these are no words"}')
    assert process.end() == 3
    assert [line for line in process.lines if line.endswith("ERROR    these are no words")], process.lines
    assert not [line for line in process.lines if "Traceback" in line]
