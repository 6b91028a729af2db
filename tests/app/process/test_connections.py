"""Clients that owe something, over real sockets: heads, bodies and replies that are slow, large or no HTTP."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.main import create_app
from app.process.connections import LARGEST_HEAD
from app.process.server import make_server

PATIENCE = 0.5


@pytest.fixture
def serve(make_settings) -> Iterator[Callable[..., int]]:
    """`serve(keep_alive_seconds=2)`: a server on a thread of its own; returns its port."""
    ended = []

    def run(**changes) -> int:
        settings = make_settings(**({"request_timeout_seconds": PATIENCE, "shutdown_seconds": 2} | changes))
        server = make_server(settings, create_app(settings, on_failure=lambda error: None))
        server.capture_signals = contextlib.nullcontext
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        ended.append((server, thread))
        port: int = listener.getsockname()[1]
        while b"200 OK" not in exchange(
            port, b"GET /health/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ):
            time.sleep(0.05)
        return port

    yield run
    for server, thread in ended:
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes or resets."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def read_reply(connection: socket.socket) -> bytes:
    """Read the reply of the liveness probe to its end, which does not close the connection."""
    reply = b""
    while not reply.endswith(b"}"):
        reply += connection.recv(65_536)
    return reply


def exchange(port: int, request: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(request)
        return read_all(connection)


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET /health/live HTTP/1.1\r\n", b"POST /predict HTTP/1.1\r\nHost: a\r\nX-"]
)
def test_a_head_that_comes_in_drops_is_given_up(serve, begun):
    port = serve()
    with connect(port) as connection:
        started = time.monotonic()
        connection.sendall(begun)
        dripping = threading.Event()

        def drip() -> None:
            try:
                while not dripping.wait(0.05):
                    connection.sendall(b"a")
            except OSError:
                return

        thread = threading.Thread(target=drip)
        thread.start()
        assert read_all(connection) == b""
        dripping.set()
        thread.join()
        assert PATIENCE * 0.8 < time.monotonic() - started < 15


def test_a_connection_that_owes_nothing_may_idle(serve):
    port = serve(keep_alive_seconds=60)
    ask = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(port) as fresh, connect(port) as used:
        used.sendall(ask)
        assert read_reply(used).startswith(b"HTTP/1.1 200")
        time.sleep(3 * PATIENCE)
        for connection in (fresh, used):
            connection.sendall(ask)
            assert read_reply(connection).startswith(b"HTTP/1.1 200")


def test_one_that_idles_longer_than_agreed_is_closed(serve):
    port = serve(keep_alive_seconds=1)
    with connect(port) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_reply(connection).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        assert connection.recv(10) == b""
        assert 0.5 < time.monotonic() - started < 15


@pytest.mark.parametrize("head", [b"POST /predict", b"GET /health/live"])
def test_the_rest_of_a_body_that_nobody_reads_has_its_time_too(serve, head):
    port = serve(max_body_bytes=2_000)
    with connect(port) as connection:
        connection.sendall(head + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{")
        assert connection.recv(65_536).startswith((b"HTTP/1.1 413", b"HTTP/1.1 200"))
        connection.sendall(b"x" * 100)
        started = time.monotonic()
        read_all(connection)
        assert time.monotonic() - started < 15


def test_a_large_head_is_refused_in_the_shape_of_every_error(serve):
    port = serve()
    for size in (LARGEST_HEAD + 1, 4 * LARGEST_HEAD):
        reply = exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * size + b"\r\n\r\n")
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431")
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == 431
    fits = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: " + b"x" * 60_000 + b"\r\n\r\n"
    assert exchange(port, fits).startswith(b"HTTP/1.1 200")


def test_a_head_without_end_is_cut_off(serve):
    port = serve(request_timeout_seconds=30)
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        try:
            while sent < 5_000_000:
                sent += connection.send(b"X-Header: " + b"x" * 1_000 + b"\r\n")
        except OSError:
            pass
    assert sent < 5_000_000


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_words_and_closed(serve, request_bytes):
    reply = exchange(serve(), request_bytes)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["type"] == "urn:marquee:problem:unreadable"
    assert b"connection: close" in head


def test_a_reply_that_is_not_taken_is_given_up(serve):
    """Megabytes of replies wait for a reader that reads nothing; its connection ends, its memory is free."""
    port = serve()
    text = b'{"texts": ["' + b'","'.join([b"a" * 10_000] * 80) + b'"]}'
    request = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text) + text
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 15:
                connection.sendall(request)
        assert time.monotonic() - started < 15


def test_two_thousand_idle_connections_leave_the_server_quick(serve):
    port = serve(keep_alive_seconds=600, request_timeout_seconds=30)
    idle: list[socket.socket] = []
    try:
        idle += [connect(port) for _ in range(2_000)]
        slowest = 0.0
        for _ in range(20):
            started = time.monotonic()
            reply = exchange(port, b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            slowest = max(slowest, time.monotonic() - started)
            assert reply.startswith(b"HTTP/1.1 200")
        assert slowest < 1
    finally:
        for connection in idle:
            connection.close()
