"""Clients over HTTP on loopback: a closed loop (each client asks again when it is answered), and an open one (requests
come when they come, as a Poisson process, whether or not the earlier ones are answered).

One process, asyncio and httptools; its share of a core is reported, so that a bottleneck in the client shows.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httptools

from benchmarks.report import quantile

_MOST_OPEN = 512
"""Requests that an open loop may have unanswered; further arrivals count as failed."""
_PATIENCE = 60.0


@dataclass
class Load:
    """What clients saw.

    Attributes:
        seconds: how long it took.
        latencies: seconds until each 200, of an open loop from the planned arrival on.
        failures: everything else, by status or name.
        client_share: cores that the client used.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    client_share: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def goodput(self, target: float) -> float:
        """Answers a second that came within `target` seconds."""
        return sum(latency <= target for latency in self.latencies) / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, float]:
        """Return rate, quantiles in milliseconds, failures and the client's cost, for a table."""
        found = {f"p{share} ms": quantile(self.latencies, share / 100) * 1000 for share in (50, 95, 99)}
        return {
            "1/s": self.rate,
            **found,
            "failed": sum(self.failures.values()),
            "client cores": self.client_share,
        }

    def add(self, other: "Load") -> None:
        """Put another run of the same kind to this one."""
        whole = self.seconds + other.seconds
        if whole:
            self.client_share = (
                self.client_share * self.seconds + other.client_share * other.seconds
            ) / whole
        self.seconds = whole
        self.latencies += other.latencies
        self.failures += other.failures


def post(path: str, content: Any) -> bytes:
    """Return a request with `content` as JSON."""
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float, skip: int = 0) -> Load:
    """Ask for `seconds` with `clients` at a time, beginning with the request numbered `skip`, round and round."""

    async def ask() -> Load:
        load = Load()
        line = itertools.islice(itertools.cycle(requests), skip % len(requests), None)
        started = time.perf_counter()

        async def client() -> None:
            async with _Pool(port) as pool:
                while time.perf_counter() - started < seconds:
                    await _measured(pool, next(line), time.perf_counter(), load)

        await asyncio.gather(*(client() for _ in range(clients)))
        load.seconds = time.perf_counter() - started
        return load

    return _run(ask)


def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 1) -> Load:
    """Ask for `seconds`, `rate` times a second on average, at random times that no answer delays."""

    async def ask() -> Load:
        load, generator = Load(), random.Random(seed)
        running: set[asyncio.Task[None]] = set()
        started = time.perf_counter()
        planned = started
        async with _Pool(port) as pool:
            for request in itertools.cycle(requests):
                planned += generator.expovariate(rate)
                if planned - started > seconds:
                    await asyncio.sleep(max(0.0, started + seconds - time.perf_counter()))
                    break
                await asyncio.sleep(max(0.0, planned - time.perf_counter()))
                if len(running) >= _MOST_OPEN:
                    load.failures["not sent"] += 1
                    continue
                task = asyncio.create_task(_measured(pool, request, planned, load))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)
        load.seconds = max(seconds, time.perf_counter() - started)
        return load

    return _run(ask)


def count_loop(
    port: int, requests: Sequence[bytes], clients: int, count: int, tell: Callable[[int], None]
) -> Load:
    """Ask `count` times, `clients` at a time; `tell` gets 1 for each answer."""

    async def ask() -> Load:
        load, line = Load(), itertools.islice(itertools.cycle(requests), count)
        started = time.perf_counter()

        async def client() -> None:
            async with _Pool(port) as pool:
                for request in line:
                    await _measured(pool, request, time.perf_counter(), load)
                    tell(1)

        await asyncio.gather(*(client() for _ in range(clients)))
        load.seconds = time.perf_counter() - started
        return load

    return _run(ask)


def _run(ask: Callable[[], Coroutine[Any, Any, Load]]) -> Load:
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    used, started = time.process_time(), time.perf_counter()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        load = runner.run(ask())
    load.client_share = (time.process_time() - used) / (time.perf_counter() - started)
    return load


async def _measured(pool: "_Pool", request: bytes, since: float, load: Load) -> None:
    try:
        status = await pool.ask(request)
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        load.failures[type(error).__name__] += 1
        return
    if status == 200:
        load.latencies.append(time.perf_counter() - since)
    else:
        load.failures[str(status)] += 1


class _Pool:
    """Keep-alive connections to one port; opens another where none is free."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[_Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._free:
            connection.close()

    async def ask(self, request: bytes) -> int:
        """Return the status of the reply."""
        connection = self._free.pop() if self._free else None
        if connection is None or connection.closed:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        try:
            status = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        if not connection.closed:
            self._free.append(connection)
        return status


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.closed = False
        self._transport: Any = None
        self._waiting: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._settle(error)

    def on_message_complete(self) -> None:
        status, keep = self._parser.get_status_code(), self._parser.should_keep_alive()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(status)
        # A parser that has read a whole reply does not begin another by itself in every version.
        self._parser = httptools.HttpResponseParser(self)
        if not keep:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._settle(error or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> int:
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        handle = asyncio.get_running_loop().call_later(_PATIENCE, self._settle, TimeoutError())
        try:
            return await self._waiting
        finally:
            handle.cancel()

    def close(self) -> None:
        self.closed = True
        self._transport.close()

    def _settle(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
