"""Start-up and shutdown: when the model is loaded, and how open requests and the inference log get their time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from loguru import logger

_REQUESTS_SHARE = 0.5
_MODEL_SHARE = 0.6
"""Shares of the time to stop after which open requests, then the model's line, are given up. The rest is the log's."""
GRACE_SHARE = 0.65
"""Share of the time to stop after which a server may cancel what is still open."""


class Model(Protocol):
    """What is started and stopped here of the model server."""

    @property
    def files(self) -> Any:
        """Which model it is."""

    async def start(self) -> None:
        """Load the model."""

    async def stop(self, timeout: float) -> bool:
        """Answer what is in line and free the model; return whether all were answered."""


class Log(Protocol):
    """What is started and stopped here of the inference log."""

    def start(self, files: Any) -> None:
        """Get ready for rows about this model."""

    def stop(self, timeout: float) -> None:
        """Write what is queued; blocks for at most `timeout` seconds."""


class Lifecycle:
    """Starts the parts in order, counts open requests, and stops the parts within the settings' time.

    Attributes:
        failure: why the model could not be loaded; None while it may still be, or was.
        stopping: whether new requests are refused.
        on_ready: called once the model is loaded.
        loads_first: whether the server takes no connection before the model is loaded.
        waits_for_others: whether other workers of this instance are not ready yet.
        open_requests: requests that wait for their answer.
    """

    def __init__(
        self,
        model: Model,
        log: Log,
        shutdown_seconds: float,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        """Remember the parts.

        Args:
            model: loaded at start-up.
            log: started after the model, stopped last.
            shutdown_seconds: time to stop, from the signal on.
            on_failure: given, the model is loaded while the server answers already, and this is called with the
                error if it can't be. Else start-up waits for the model and raises.
        """
        self._model = model
        self._log = log
        self._shutdown_seconds = shutdown_seconds
        self._on_failure = on_failure
        self._loading: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.failure: Exception | None = None
        self.stopping = False
        self.on_ready: list[Callable[[], None]] = []
        self.loads_first = False
        self.waits_for_others = False
        self.open_requests = 0

    @property
    def loading(self) -> bool:
        """Whether a thread may still be busy with a model that nobody waits for any more."""
        return self._loading is not None and (not self._loading.done() or self._loading.cancelled())

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Start before the first request, stop after the last one."""
        self._loading = asyncio.create_task(self._load())
        if self._on_failure is None or self.loads_first:
            await self._loading
        try:
            yield
        finally:
            await self.stop()

    def begin_request(self) -> None:
        """Count a request as open; shutdown waits for it."""
        self.open_requests += 1
        self._idle.clear()

    def end_request(self) -> None:
        """Count it as answered."""
        self.open_requests -= 1
        if not self.open_requests:
            self._idle.set()

    def begin_stop(self) -> None:
        """Refuse new requests and give the open ones their time. Calling it again changes nothing."""
        if not self.stopping:
            self.stopping = True
            logger.info("stopping: {} requests are open", self.open_requests)
            self._deadline = asyncio.get_running_loop().time() + self._shutdown_seconds
            self._draining = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """Stop the parts, in all within the time that the settings give."""
        self.begin_stop()
        assert self._draining is not None
        await self._draining
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        await asyncio.to_thread(self._log.stop, self._left(1.0))

    async def _load(self) -> None:
        try:
            await self._model.start()
        except Exception as error:
            self.failure = error
            if self._on_failure is None:
                raise
            self._on_failure(error)
        else:
            self._log.start(self._model.files)
            for tell in self.on_ready:
                tell()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._left(_REQUESTS_SHARE)):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("{} requests are still open, and the time for them is over", self.open_requests)
        if not await self._model.stop(self._left(_MODEL_SHARE)):
            logger.warning("the model did not answer everything in time; the rest was told to come again")

    def _left(self, share: float) -> float:
        """Return the seconds until `share` of the time to stop is over."""
        end = self._deadline - (1 - share) * self._shutdown_seconds
        return max(0.0, end - asyncio.get_running_loop().time())
