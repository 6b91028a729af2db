"""A client for an app without sockets: the app runs on an event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

import httpx
from fastapi import FastAPI

Result = TypeVar("Result")


class AppClient:
    """Starts the app on entry, stops it on exit; requests may come from several threads."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @property
    def service(self) -> Any:
        return self.app.state.service

    def __enter__(self) -> Self:
        self._thread.start()
        self._lifespan = asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        self._client = self.run(self._open())
        try:
            self._tell("startup")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._tell("shutdown")
        self._end()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the app's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(240)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    async def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://marquee.test")

    async def _live(self) -> None:
        await self.app(
            {"type": "lifespan", "asgi": {"version": "3.0"}}, self._messages.get, self._answers.put
        )

    def _tell(self, event: str) -> None:
        self.run(self._messages.put({"type": f"lifespan.{event}"}))
        answer = self.run(self._answers.get())
        if answer["type"] != f"lifespan.{event}.complete":
            raise RuntimeError(answer.get("message"))

    def _end(self) -> None:
        self.run(self._client.aclose())
        self._lifespan.exception(10)
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
