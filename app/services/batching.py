"""Worker threads, a bounded line in front of them, and batches of what is waiting when one gets free.

The event loop never computes: it puts a request's items in line and awaits a future. Nobody waits for a batch
to fill. A request that was given up is skipped, an item that breaks the model fails alone.
"""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from loguru import logger

from app.core.errors import NotReadyError, OverloadedError, PredictionFailedError, RequestError
from app.services.line import Job, Line
from app.services.predictor import Predictor

_LOOK_AHEAD = 64
"""Requests that may be passed over in search of items that go with the first one of a batch."""
_SMOOTHING = 0.1


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


class Batcher:
    """Runs a predictor on threads of its own."""

    def __init__(self, predictor: Predictor, max_waiting: int, max_waiting_size: int = sys.maxsize) -> None:
        """Start the workers.

        Args:
            predictor: what to run.
            max_waiting: items that may be in line; more are refused at once.
            max_waiting_size: characters that they may have, likewise; of a row of a table, numbers.
        """
        self._predictor = predictor
        self._max_waiting = max_waiting
        self._max_waiting_size = max_waiting_size
        self._line = Line()
        self._open: set[Job] = set()
        self._arrived: list[Job] = []
        self._waiting = 0
        self._waiting_size = 0
        self._seconds_an_item = 0.0
        self._seconds_a_cost = 0.0
        self._stopping = False
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name="inference", daemon=True)
            for _ in range(max(1, predictor.parallel))
        ]
        for thread in self._threads:
            thread.start()

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
        if not items:
            return []
        count = len(items)
        size = sum(len(item) if isinstance(item, Sized) else 1 for item in items)
        with self._lock:
            if self._stopping:
                raise NotReadyError("the service is stopping")
            if self._waiting and self._waiting + count > self._max_waiting:
                raise self._overloaded(
                    f"{self._waiting} items are waiting and at most {self._max_waiting} may"
                )
            if self._waiting and self._waiting_size + size > self._max_waiting_size:
                raise self._overloaded(
                    f"{self._waiting_size} characters are waiting and at most {self._max_waiting_size} may"
                )
            job = Job.of(list(items), time.perf_counter())
            job.size = size
            self._waiting += count
            self._waiting_size += size
            self._open.add(job)
            if not self._arrived:
                job.loop.call_soon(self._hand_over)
            self._arrived.append(job)
        try:
            served: list[Served] = await job.future
        except asyncio.CancelledError:
            self._close(job)
            self._line.note_closed_job()
            raise
        return served

    def stop(self, timeout: float) -> bool:
        """Answer what is in line, then end the workers; blocks for at most `timeout` seconds.

        Returns:
            Whether everything was answered. What was not gets `NotReadyError`.
        """
        end = time.monotonic() + timeout
        with self._lock:
            self._stopping = True
        self._hand_over()
        self._line.close()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            left = list(self._open)
        self._fail(left, NotReadyError("the service stopped before this request was answered"))
        return not left and not any(thread.is_alive() for thread in self._threads)

    def _hand_over(self) -> None:
        """Put in line what came in one turn of the event loop: a worker that is woken by the first request would fight
        with the loop, which still reads the others, and find a batch of one.
        """
        with self._lock:
            arrived, self._arrived = self._arrived, []
        self._line.put(arrived)

    def _overloaded(self, message: str) -> OverloadedError:
        seconds = math.ceil(self._waiting * self._seconds_an_item / len(self._threads))
        return OverloadedError(message, min(60, max(1, seconds)))

    def _work(self) -> None:
        while self._line.wait():
            batch = self._assemble()
            if batch:
                self._predict(batch)

    def _assemble(self) -> list[tuple[Job, int]]:
        """Take items from the front of the line: those that go with the first, as many as the budget allows."""
        batch: list[tuple[Job, int]] = []
        passed_over: list[Job] = []
        budget, spent = self._predictor.batch_cost, 0
        group: Hashable = None
        while (not batch or spent < budget) and len(passed_over) < _LOOK_AHEAD:
            job = self._line.take()
            if job is None:
                break
            if job.given_up or not (job.started or self._prepare(job)):
                self._close(job)
                continue
            index = job.next_item
            if batch and spent + job.costs[index] > budget:
                passed_over.append(job)
                break
            if batch and job.groups[index] != group:
                passed_over.append(job)
                continue
            batch.append((job, index))
            group = job.groups[index]
            spent += job.costs[index]
            job.next_item += 1
            job.due += job.costs[index] * self._seconds_a_cost
            if job.next_item < len(job.items):
                self._line.put([job])
        self._line.put(passed_over)
        return batch

    def _prepare(self, job: Job) -> bool:
        job.started = time.perf_counter()
        try:
            job.prepared = self._predictor.prepare(job.items)
            if len(job.prepared) != len(job.items):
                raise PredictionFailedError("the model prepared another number of items than it was given")
            job.costs = [self._predictor.cost(prepared) for prepared in job.prepared]
            job.groups = [self._predictor.group(prepared) for prepared in job.prepared]
        except Exception as error:  # noqa: BLE001 - a custom class may raise anything
            self._fail([job], _as_request_error(error))
            return False
        job.preparation = time.perf_counter() - job.started
        return True

    def _predict(self, batch: list[tuple[Job, int]]) -> None:
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
        cost = sum(job.costs[index] for job, index in batch)
        self._seconds_an_item += _SMOOTHING * (seconds / len(batch) - self._seconds_an_item)
        self._seconds_a_cost += _SMOOTHING * (seconds / max(1, cost) - self._seconds_a_cost)
        for (job, index), output in zip(batch, outputs, strict=True):
            if isinstance(output, Exception):
                self._fail([job], _at_position(output, index, len(job.items)))
                continue
            job.served[index] = Served(
                job.items[index],
                output,
                queue_ms=(job.started - job.arrived) * 1000,
                inference_ms=(seconds + job.preparation) * 1000,
                batch_size=len(batch),
            )
        self._finish(
            [
                job
                for (job, _), output in zip(batch, outputs, strict=True)
                if not isinstance(output, Exception)
            ]
        )

    def _finish(self, answered: Sequence[Job]) -> None:
        """Count one more answer of each job, and answer those that have all."""
        finished: list[Job] = []
        with self._lock:
            for job in answered:
                job.unanswered -= 1
                if not job.unanswered and not job.closed:
                    self._forget(job)
                    finished.append(job)
        _tell([(job, job.future.set_result, job.served) for job in finished])

    def _alone(self, job: Job, index: int) -> Any:
        """Predict one item of a batch that failed, so that the others do not fail with it."""
        try:
            outputs = self._predictor.predict([job.prepared[index]])
            if len(outputs) != 1:
                return PredictionFailedError("the model answered another number of items than it was given")
            return outputs[0]
        except Exception as error:  # noqa: BLE001
            return _as_request_error(error)

    def _close(self, job: Job) -> None:
        """Take a request out of the count."""
        with self._lock:
            if not job.closed:
                self._forget(job)

    def _forget(self, job: Job) -> None:
        job.closed = True
        self._open.discard(job)
        self._waiting -= len(job.items)
        self._waiting_size -= job.size

    def _fail(self, jobs: Sequence[Job], error: RequestError) -> None:
        for job in jobs:
            self._close(job)
        _tell([(job, job.future.set_exception, error) for job in jobs])


def _tell(answers: Sequence[tuple[Job, Callable[[Any], None], Any]]) -> None:
    """Settle futures on their event loops, all of a loop at once: waking it costs more than an answer."""

    def settle(mine: list[tuple[Job, Callable[[Any], None], Any]]) -> None:
        for job, setter, value in mine:
            if not job.future.done():
                setter(value)

    for loop in {job.loop for job, _, _ in answers}:
        try:
            loop.call_soon_threadsafe(settle, [answer for answer in answers if answer[0].loop is loop])
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
