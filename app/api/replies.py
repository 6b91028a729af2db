"""Replies of the model as JSON, and what to do when nobody waits for them any more."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from loguru import logger
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.errors import kind_of
from app.core.errors import PredictionFailedError, RequestError

Result = TypeVar("Result")

_LOOK_AFTER_SECONDS = 0.02


class ErrorCounter(Protocol):
    """Who counts requests that end without a prediction."""

    def count_error(self, kind: str) -> None:
        """Count one."""


def json_response(content: Any) -> Response:
    """Return a 200 with `content`; arrays and scalars of numpy become lists and numbers.

    Raises:
        PredictionFailedError: the model answered something that JSON cannot hold, such as NaN.
    """
    try:
        return Response(_ENCODER.encode(content).encode(), media_type="application/json")
    except (TypeError, ValueError, RecursionError) as error:
        # No `from`, no traceback: their messages may hold what the model said about a text.
        logger.error("the model's reply is no JSON: {}", type(error).__name__)
        raise PredictionFailedError("the model answered something that is no JSON, such as NaN") from None


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` returns; give it up when the client disconnects.

    Nobody looks for the client during the first moments, in which most predictions are there.

    Raises:
        ClientDisconnect: the client is gone.
    """
    task = asyncio.current_task()
    assert task is not None
    watch = _Watch(request, task)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.client_left:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        watch.end()


class _Watch:
    """Cancels a task when its client leaves."""

    __slots__ = ("_looking", "_request", "_task", "_timer", "client_left")

    def __init__(self, request: Request, task: asyncio.Task[Any]) -> None:
        self._request = request
        self._task = task
        self._looking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_SECONDS, self._begin)
        self.client_left = False

    def end(self) -> None:
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _begin(self) -> None:
        self._looking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        self._task.cancel()


class Counted:
    """Count a request that ends without a prediction, by the kind of its error."""

    __slots__ = ("_counter",)

    def __init__(self, counter: ErrorCounter) -> None:
        """Count with `counter`."""
        self._counter = counter

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, RequestError):
            self._counter.count_error(kind_of(error).name)
        elif isinstance(error, ClientDisconnect):
            self._counter.count_error("client-left")
        elif isinstance(error, Exception):
            self._counter.count_error("internal")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    for method in ("tolist", "item"):
        if callable(convert := getattr(value, method, None)):
            return convert()
    raise TypeError


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
