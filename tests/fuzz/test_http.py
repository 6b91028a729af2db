"""Bytes that are hardly HTTP, sent to a real server: it answers in its own words or hangs up, and lives on."""

import json
import random
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models
from tests.e2e.server_process import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BODY = json.dumps({"text": "a fine film"}).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
HOST = b"Host: marquee.test\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /predict HTTP/1.1\r\n" + HOST + JSON
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
GET = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
WHOLE = POST + LENGTH + b"\r\n" + BODY


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(content), extension, content)


ODD = {
    "length that is no number": POST + b"Content-Length: ten\r\n\r\n" + BODY,
    "length below zero": POST + b"Content-Length: -1\r\n\r\n" + BODY,
    "length with a sign": POST + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
    "length beyond all numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "two lengths": POST + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY,
    "the same length twice": POST + LENGTH + LENGTH + b"\r\n" + BODY,
    "length and chunks": POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(BODY) + chunk(b""),
    "chunks and length": CHUNKED + b"Content-Length: 3\r\n\r\n" + chunk(BODY) + chunk(b"") + GET,
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(BODY) + chunk(b""),
    "a coding nobody knows": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + chunk(BODY) + chunk(b""),
    "a coding in disguise": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + chunk(BODY) + chunk(b""),
    "chunk extensions": CHUNKED + b"\r\n" + chunk(BODY, b';name="' + b"x" * 500 + b'"') + chunk(b""),
    "huge chunk extension": CHUNKED + b"\r\n" + chunk(BODY, b";" + b"x" * 200_000) + chunk(b""),
    "chunk size that is no number": CHUNKED + b"\r\nxyz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size beyond all numbers": CHUNKED + b"\r\n" + b"f" * 40 + b"\r\n" + BODY,
    "chunk shorter than it says": CHUNKED + b"\r\n" + b"%x\r\nab\r\n0\r\n\r\n" % len(BODY),
    "trailers": CHUNKED + b"\r\n" + chunk(BODY) + b"0\r\nX-Trailer: 1\r\n\r\n",
    "many trailers": CHUNKED + b"\r\n" + chunk(BODY) + b"0\r\n" + b"X-T: 1\r\n" * 20_000 + b"\r\n",
    "pipelined": WHOLE * 3 + GET * 3,
    "pipelined with rubbish": WHOLE + b"\0\0\0\r\n\r\n" + GET,
    "huge header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 300_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 20_000 + b"\r\n",
    "huge target": b"GET /predict?text=" + b"a" * 300_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\0Y: a\r\n\r\n",
    "bytes above ASCII": b"GET /\xff\xfe?\xff HTTP/1.1\r\n" + HOST + b"X-Request-ID: \xff\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length : 5\r\n\r\nhello",
    "bare line feeds": b"GET /health/live HTTP/1.1\nHost: marquee.test\n\n",
    "bare carriage returns": b"GET /health/live HTTP/1.1\rHost: marquee.test\r\r",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "absolute target": b"GET http://elsewhere.test/health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "connect": b"CONNECT elsewhere.test:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "trace": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "method nobody knows": b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n",
    "lower-case method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.0": b"GET /health/live HTTP/1.0\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "upgrade": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "upgrade to HTTP/2": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "expectation": POST + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY,
    "expectation nobody knows": POST + LENGTH + b"Expect: miracles\r\n\r\n" + BODY,
    "only line ends": b"\r\n" * 1_000,
    "nothing": b"",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("http")
    models.tiny_onnx(folder / "sentiment")
    variables = {"MODEL_SOURCE": "local", "LOCAL_MODEL_DIR": str(folder), "INFERENCE_LOG": "false"}
    with ServerProcess(folder / "one", REQUEST_TIMEOUT_SECONDS="2", **variables) as process:
        yield process.wait_until_ready()


def talk(port: int, content: bytes, wait: float = 1.0) -> bytes:
    """Send bytes and read until the server hangs up or says nothing for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        received = b""
        try:
            connection.sendall(content)
            connection.settimeout(wait)
            while part := connection.recv(65_536):
                received += part
        except OSError:  # Hung up while we were sending, or silent.
            pass
        return received


def replies(received: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Status, head and body of each reply; the last one may be cut."""
    while received.startswith(b"HTTP/1."):
        head, _, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        end = int(length[1]) if length else 0
        yield int(head[9:12]), head, rest[:end]
        received = rest[end:]
    assert not received, received[:300]


def hold_to_our_words(received: bytes) -> None:
    """Every refusal is a problem of ours, none is a server error, and nothing is repeated back unbounded."""
    for status, head, body in replies(received):
        assert status < 500, head + body
        assert len(head) + len(body) < 20_000
        if status >= 400:
            assert b"application/problem+json" in head, head
            assert json.loads(body)["status"] == status


def lives(server: ServerProcess) -> None:
    assert server.process.poll() is None, server.output
    assert server.predict("a fine film")["sentiment"] == "Positive"


@pytest.mark.parametrize("name", ODD)
def test_odd_bytes_are_answered_in_words_or_hung_up_on(server: ServerProcess, name: str) -> None:
    hold_to_our_words(talk(server.port, ODD[name], wait=0.3))
    lives(server)


@pytest.mark.parametrize(
    "name", ["length and chunks", "chunks and length", "two lengths", "a coding in disguise"]
)
def test_no_second_request_is_smuggled_in_a_body(server: ServerProcess, name: str) -> None:
    hidden = b"GET /api/v1/model HTTP/1.1\r\n" + HOST + b"\r\n"
    head = ODD[name].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    received = talk(server.port, head + chunk(b"") + hidden, wait=0.3)
    hold_to_our_words(received)
    assert b'"digest"' not in received, "what follows an ambiguous body is no request"
    lives(server)


def test_a_request_that_is_cut_anywhere_leaves_nothing_behind(server: ServerProcess) -> None:
    for end in range(0, len(WHOLE), 7):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(WHOLE[:end])
    lives(server)
    status, health = server.ask("GET", "/api/v1/health")
    assert (status, health["open_requests"]) == (200, 1), "the one that asks"


def test_a_body_that_comes_byte_by_byte_is_a_body(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for position in range(len(WHOLE)):
            connection.sendall(WHOLE[position : position + 1])
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_body_that_never_comes_is_given_up(server: ServerProcess) -> None:
    started = time.monotonic()
    received = talk(server.port, POST + LENGTH + b"\r\n" + BODY[:5], wait=8)
    assert received.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 7


def test_random_harm_to_requests_is_survived(server: ServerProcess, tmp_path: Path) -> None:
    """Requests with bytes changed, left out, doubled and joined; the seed is fixed, so a failure comes again."""
    chance = random.Random(7)
    sources = [WHOLE, GET, *ODD.values()]
    for _ in range(300):
        content = bytearray(chance.choice(sources)[:5_000] + chance.choice(sources)[:200])
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(content) + 1)
            match chance.randrange(3):
                case 0:
                    content[place : place + 1] = chance.randbytes(1)
                case 1:
                    del content[place : place + chance.randint(1, 20)]
                case _:
                    content[place:place] = content[max(0, place - 20) : place] or b"\r\n"
        hold_to_our_words(talk(server.port, bytes(content), wait=0.05))
        assert server.process.poll() is None, (bytes(content), server.output[-2_000:])
    lives(server)
    before, found, after = server.output.partition("Traceback")
    assert not found, before[-300:] + after[:6_000]
