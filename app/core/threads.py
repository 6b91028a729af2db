"""Blocking work beside the event loop, on threads that nobody waits for at the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_daemon_thread(work: Callable[[], Result], name: str) -> Result:
    """Run `work` on a daemon thread of its own and return what it returns.

    The event loop's executor is joined when the loop is closed, so work that may take minutes would hold up the
    end of the process. Cancelling the call leaves the thread to itself.

    Raises:
        Exception: whatever `work` raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: Result | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is awaited
            failure = error
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(settle, result, failure)
            except RuntimeError:  # The event loop was closed meanwhile: nobody is left to tell.
                return

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
