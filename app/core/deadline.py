"""A time limit for what a task awaits. As `asyncio.timeout`, of which it is the part that each request needs twice."""

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """``with Deadline(seconds): await …``: raises `TimeoutError` where that takes longer.

    Raises:
        TimeoutError: the time was over; what was awaited has been cancelled.
    """

    __slots__ = ("_cancelling", "_passed", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._passed = False
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._pass)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # Another cancellation that came at the same time is not ours to take back.
        if self._passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()
