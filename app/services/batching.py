"""One worker thread, a bounded line in front of it, and batches of what is waiting when it gets free.

The event loop never computes: it puts a request's items in line and awaits a future. Nobody waits for a batch
to fill. A request that was given up is skipped, an item that breaks the model fails alone.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from app.core.errors import NotReadyError, OverloadedError, PredictionFailedError, RequestError
from app.services.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Served:
    """An answered item.

    Attributes:
        item: what was asked.
        output: what the predictor answered.
        queue_ms: milliseconds from arrival until the worker took it.
        inference_ms: milliseconds that its batch spent in the model, preparation included.
        batch_size: items that were predicted together.
    """

    item: Any
    output: Any
    queue_ms: float
    inference_ms: float
    batch_size: int


@dataclass(eq=False, slots=True)
class _Job:
    items: list[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Served]]
    arrived: float
    prepared: list[Any] = field(default_factory=list)
    preparation: float = 0.0
    started: float = 0.0
    next_item: int = 0
    served: list[Served | None] = field(default_factory=list)

    closed: bool = False

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more. Reading the flag of another thread's future is safe."""
        return self.closed or self.future.done()


class Batcher:
    """Runs a predictor on a thread of its own."""

    def __init__(self, predictor: Predictor, max_waiting: int) -> None:
        """Start the worker.

        Args:
            predictor: what to run.
            max_waiting: items that may be in line; more are refused at once.
        """
        self._predictor = predictor
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._open: set[_Job] = set()
        self._waiting = 0
        self._seconds_an_item = 0.0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items in line or being predicted."""
        return self._waiting

    async def run(self, items: Sequence[Any]) -> list[Served]:
        """Predict the items of one request; cancel the call to give it up.

        Raises:
            OverloadedError: too much is in line already.
            NotReadyError: the batcher was stopped.
            RequestError: what `prepare` refused, or what the model failed at.
        """
        loop = asyncio.get_running_loop()
        job = _Job(list(items), loop, loop.create_future(), time.perf_counter())
        job.served = [None] * len(job.items)
        with self._changed:
            if self._stopping:
                raise NotReadyError("the service is stopping")
            if self._waiting and self._waiting + len(job.items) > self._max_waiting:
                seconds = math.ceil(self._waiting * self._seconds_an_item)
                raise OverloadedError(
                    f"{self._waiting} items are waiting and at most {self._max_waiting} may",
                    min(60, max(1, seconds)),
                )
            self._waiting += len(job.items)
            self._jobs.append(job)
            self._open.add(job)
            self._changed.notify()
        return await job.future

    def stop(self, timeout: float) -> bool:
        """Answer what is in line, then end the worker; blocks for at most `timeout` seconds.

        Returns:
            Whether everything was answered. What was not gets `NotReadyError`.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        with self._changed:
            left = list(self._open)
        for job in left:
            self._fail(job, NotReadyError("the service stopped before this request was answered"))
        return not self._thread.is_alive() and not left

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._stopping:
                    self._changed.wait()
                if not self._jobs:
                    return
            batch = self._assemble()
            if batch:
                self._predict(batch)

    def _assemble(self) -> list[tuple[_Job, int]]:
        """Take items from the front of the line, as many as the predictor's budget allows."""
        batch: list[tuple[_Job, int]] = []
        spent = 0
        while True:
            with self._changed:
                job = self._jobs[0] if self._jobs else None
            if job is None:
                return batch
            if job.given_up or not (job.started or self._prepare(job)):
                self._close(job)
                continue
            while job.next_item < len(job.items):
                cost = self._predictor.cost(job.prepared[job.next_item])
                if batch and spent + cost > self._predictor.batch_cost:
                    return batch
                batch.append((job, job.next_item))
                job.next_item += 1
                spent += cost
            self._leave_line(job)

    def _prepare(self, job: _Job) -> bool:
        job.started = time.perf_counter()
        try:
            job.prepared = self._predictor.prepare(job.items)
            if len(job.prepared) != len(job.items):
                raise PredictionFailedError("the model prepared another number of items than it was given")
        except Exception as error:  # noqa: BLE001 - a custom class may raise anything
            self._fail(job, _as_request_error(error))
            return False
        job.preparation = time.perf_counter() - job.started
        return True

    def _predict(self, batch: list[tuple[_Job, int]]) -> None:
        begun = time.perf_counter()
        outputs: list[Any]
        try:
            outputs = self._predictor.predict([job.prepared[index] for job, index in batch])
            if len(outputs) != len(batch):
                raise PredictionFailedError("the model answered another number of items than it was given")
        except Exception as error:  # noqa: BLE001 - a custom class may raise anything
            outputs = (
                [_as_request_error(error)] if len(batch) == 1 else [self._alone(*entry) for entry in batch]
            )
        seconds = time.perf_counter() - begun
        self._seconds_an_item += 0.1 * (seconds / len(batch) - self._seconds_an_item)
        for (job, index), output in zip(batch, outputs, strict=True):
            if isinstance(output, Exception):
                self._fail(job, _at_position(output, index, len(job.items)))
                continue
            job.served[index] = Served(
                job.items[index],
                output,
                queue_ms=(job.started - job.arrived) * 1000,
                inference_ms=(seconds + job.preparation) * 1000,
                batch_size=len(batch),
            )
            if all(entry is not None for entry in job.served):
                self._close(job)
                _tell(job, job.future.set_result, job.served)

    def _alone(self, job: _Job, index: int) -> Any:
        """Predict one item of a batch that failed, so that the others do not fail with it."""
        try:
            outputs = self._predictor.predict([job.prepared[index]])
            if len(outputs) != 1:
                return PredictionFailedError("the model answered another number of items than it was given")
            return outputs[0]
        except Exception as error:  # noqa: BLE001
            return _as_request_error(error)

    def _leave_line(self, job: _Job) -> None:
        with self._changed:
            if self._jobs and self._jobs[0] is job:
                self._jobs.popleft()

    def _close(self, job: _Job) -> None:
        """Take a request out of the count, and out of the line if it is still there."""
        self._leave_line(job)
        with self._changed:
            if not job.closed:
                job.closed = True
                self._open.discard(job)
                self._waiting -= len(job.items)

    def _fail(self, job: _Job, error: RequestError) -> None:
        self._close(job)
        _tell(job, job.future.set_exception, error)


def _tell(job: _Job, setter: Callable[[Any], None], value: Any) -> None:
    def settle() -> None:
        if not job.future.done():
            setter(value)

    try:
        job.loop.call_soon_threadsafe(settle)
    except RuntimeError:  # The event loop is closed: nobody is left to tell.
        logger.debug("an answer came after the event loop had closed")


def _as_request_error(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    logger.opt(exception=error).error("the model failed on a request")
    return PredictionFailedError("the model failed on this input")


def _at_position(error: Exception, index: int, count: int) -> RequestError:
    if isinstance(error, PredictionFailedError) and count > 1:
        return PredictionFailedError(f"{error} (item {index})")
    return (
        error if isinstance(error, RequestError) else PredictionFailedError("the model failed on this input")
    )
