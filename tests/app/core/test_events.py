"""Start-up and shutdown, with parts that tell what was done to them."""

import asyncio
import time
from typing import Any

import pytest

from app.core.errors import ModelLoadError
from app.core.events import Lifecycle


class Parts:
    """A model and a log that write down what happens."""

    def __init__(
        self, load_seconds: float = 0, error: Exception | None = None, stop_seconds: float = 0
    ) -> None:
        self.files = "files"
        self.done: list[str] = []
        self.timeouts: dict[str, float] = {}
        self.load_seconds, self.error, self.stop_seconds = load_seconds, error, stop_seconds
        self.log = self.Log(self)

    async def start(self) -> None:
        await asyncio.sleep(self.load_seconds)
        if self.error:
            raise self.error
        self.done.append("model started")

    async def stop(self, timeout: float) -> bool:
        self.timeouts["model"] = timeout
        self.done.append("model stopped")
        return True

    class Log:
        def __init__(self, parts: "Parts") -> None:
            self.parts = parts

        def start(self, files: Any) -> None:
            self.parts.done.append(f"log started with {files}")

        def stop(self, timeout: float) -> None:
            self.parts.timeouts["log"] = timeout
            time.sleep(self.parts.stop_seconds)
            self.parts.done.append("log stopped")


def test_the_parts_start_and_stop_in_order():
    parts = Parts()

    async def run() -> None:
        async with Lifecycle(parts, parts.log, 8).lifespan(None):
            assert parts.done == ["model started", "log started with files"]

    asyncio.run(run())
    assert parts.done[2:] == ["model stopped", "log stopped"]
    assert parts.timeouts["model"] == pytest.approx(8 * 0.6, abs=1)
    assert parts.timeouts["log"] == pytest.approx(8, abs=1)


def test_without_a_callback_start_up_waits_and_raises():
    parts = Parts(error=ModelLoadError("no such file"))
    lifecycle = Lifecycle(parts, parts.log, 8)

    async def run() -> None:
        async with lifecycle.lifespan(None):
            raise AssertionError("it started")

    with pytest.raises(ModelLoadError):
        asyncio.run(run())
    assert isinstance(lifecycle.failure, ModelLoadError)
    assert parts.done == []


@pytest.mark.parametrize("error", [ModelLoadError("no such file"), RuntimeError("a class of somebody's own")])
def test_with_a_callback_the_server_is_up_while_the_model_loads(error):
    failures: list[Exception] = []
    parts = Parts(load_seconds=0.05, error=error)

    async def run() -> None:
        async with Lifecycle(parts, parts.log, 8, failures.append).lifespan(None):
            assert failures == []
            await asyncio.sleep(0.2)

    asyncio.run(run())
    assert failures == [error]
    assert parts.done == ["model stopped", "log stopped"]


def test_open_requests_are_waited_for():
    parts = Parts()

    async def run() -> None:
        lifecycle = Lifecycle(parts, parts.log, 8)

        async def request() -> None:
            lifecycle.begin_request()
            await asyncio.sleep(0.1)
            lifecycle.end_request()
            parts.done.append("answered")

        async with lifecycle.lifespan(None):
            task = asyncio.create_task(request())
            await asyncio.sleep(0)
        await task

    asyncio.run(run())
    assert parts.done[2:] == ["answered", "model stopped", "log stopped"]


def test_a_request_that_does_not_end_leaves_time_for_the_log():
    parts = Parts(stop_seconds=0.1)

    async def run() -> None:
        lifecycle = Lifecycle(parts, parts.log, 1)
        async with lifecycle.lifespan(None):
            lifecycle.begin_request()

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 5
    assert parts.timeouts["model"] <= 0.11
    assert 0 < parts.timeouts["log"] <= 0.51


def test_the_time_runs_from_the_signal_on():
    parts = Parts()

    async def run() -> None:
        lifecycle = Lifecycle(parts, parts.log, 8)
        async with lifecycle.lifespan(None):
            lifecycle.begin_stop()
            assert lifecycle.stopping
            await asyncio.sleep(0.3)
            lifecycle.begin_stop()

    asyncio.run(run())
    assert parts.done.count("model stopped") == 1
    assert parts.timeouts["log"] < 7.8


def test_a_model_that_is_still_loading_is_given_up():
    parts = Parts(load_seconds=60)
    lifecycle = Lifecycle(parts, parts.log, 1, lambda error: None)

    async def run() -> None:
        async with lifecycle.lifespan(None):
            assert lifecycle.loading

    asyncio.run(run())
    assert lifecycle.loading
    assert parts.done == ["model stopped", "log stopped"]
