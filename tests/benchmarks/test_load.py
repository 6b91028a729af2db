"""The clients count what they see: answers, refusals, broken connections, and waiting from the planned moment on."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from benchmarks.load import Load, closed_loop, count_loop, open_loop, post

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def serve() -> "Iterator[Callable[..., int]]":
    """`serve(reply, delay)` starts a server that answers every request so, one after another; returns its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers = []
    turn = asyncio.Lock()

    def start(reply: bytes, delay: float = 0.0) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(
                        int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    )
                    async with turn:
                        await asyncio.sleep(delay)
                    writer.write(reply)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(answer, "127.0.0.1", 0), loop).result(
            10
        )
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start

    async def stop() -> None:
        for server in servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize("reply", [OK, CHUNKED])
def test_a_closed_loop_measures_each_answer(serve, reply):
    load = closed_loop(serve(reply, 0.005), [post("/predict", {"text": "a"})], clients=2, seconds=0.3)
    assert not load.failures
    assert len(load.latencies) > 5
    assert min(load.latencies) >= 0.005
    assert load.rate == pytest.approx(len(load.latencies) / load.seconds)


def test_refusals_count_as_failures_and_a_closed_connection_is_opened_again(serve):
    load = count_loop(serve(BUSY), [post("/predict", {})], clients=1, count=3, tell=lambda _: None)
    assert load.failures == {"429": 3}
    assert not load.latencies


def test_nobody_there_is_a_failure():
    load = count_loop(9, [post("/predict", {})], clients=1, count=2, tell=lambda _: None)
    assert sum(load.failures.values()) == 2


def test_an_open_loop_counts_the_waiting_that_a_slow_server_causes(serve):
    # 100 requests a second at a server that takes 20 ms for each: the line grows, and the clients see it.
    load = open_loop(serve(OK, 0.02), [post("/predict", {})], rate=100, seconds=0.4)
    assert not load.failures
    assert max(load.latencies) > 0.1


def test_two_runs_are_put_together():
    first = Load(1.0, [0.1, 0.2], client_share=0.2)
    first.failures["429"] += 1
    second = Load(3.0, [0.3], client_share=0.6)
    first.add(second)
    assert (first.seconds, first.latencies, first.failures["429"]) == (4.0, [0.1, 0.2, 0.3], 1)
    assert first.client_share == pytest.approx(0.5)
    assert first.rate == 0.75
    assert first.goodput(0.2) == 0.5
