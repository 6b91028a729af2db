"""A time limit for what is awaited."""

import asyncio
import contextlib

import pytest

from app.core.deadline import Deadline


def test_what_takes_longer_is_cancelled_and_the_task_goes_on():
    async def run() -> str:
        cancelled = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.set()

        with pytest.raises(TimeoutError), Deadline(0.01):
            await work()
        assert cancelled.is_set()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return "went on"

    assert asyncio.run(run()) == "went on"


def test_what_is_done_in_time_is_left_alone():
    async def run() -> int:
        with Deadline(0.01):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        return 1

    assert asyncio.run(run()) == 1


def test_an_error_in_time_stays_what_it_was():
    async def run() -> None:
        with Deadline(5):
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(run())


def test_a_cancellation_from_outside_stays_one():
    async def run() -> None:
        async def work() -> None:
            with Deadline(60):
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(run())


def test_a_cancellation_from_outside_at_the_same_time_stays_one():
    async def run() -> None:
        async def work() -> None:
            with Deadline(0):
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await task
        assert task.cancelled()

    asyncio.run(run())


def test_deadlines_in_one_another_each_end_their_own():
    async def run() -> None:
        with Deadline(60):
            with pytest.raises(TimeoutError), Deadline(0.01):
                await asyncio.sleep(60)
            await asyncio.sleep(0)

    asyncio.run(run())
