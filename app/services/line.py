"""The line of requests in front of the workers, fair to short and to long ones.

A list counts as if its items came one after another, as fast as they can be answered, and whatever came first is next.
So a request of one item does not wait for the whole of a list that came before it, and a list is not put off by what
comes after it.
"""

import asyncio
import heapq
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False, slots=True)
class Job:
    """One request on its way through the workers.

    Attributes:
        items: what was asked.
        loop, future: where the answer is awaited.
        arrived: when it came, by `time.perf_counter`.
        due: when its next item counts as arrived.
        served: an answer for each item, None until it is there.
        unanswered: how many are not.
        prepared, costs, groups: what the predictor made of each item; empty before `started`.
        preparation: seconds that took.
        started: when a worker took it; 0 before.
        next_item: the first item that no worker has taken.
        closed: answered, failed or given up: no longer counted.
        size: characters of all its items; of a row of a table, numbers.
    """

    items: list[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    arrived: float
    due: float
    served: list[Any]
    unanswered: int
    prepared: list[Any] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    groups: list[Hashable] = field(default_factory=list)
    preparation: float = 0.0
    started: float = 0.0
    next_item: int = 0
    closed: bool = False
    size: int = 0

    @classmethod
    def of(cls, items: list[Any], now: float) -> "Job":
        """Make one for the event loop that runs now."""
        loop = asyncio.get_running_loop()
        return cls(items, loop, loop.create_future(), now, now, [None] * len(items), len(items))

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for it any more. Reading the flag of another thread's future is safe."""
        return self.closed or self.future.done()


class Line:
    """Jobs in the order of `due`, then of their coming; for several threads at once."""

    def __init__(self) -> None:
        """Make an empty one."""
        self._heap: list[tuple[float, int, Job]] = []
        self._numbers = 0
        self._stale = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, jobs: Sequence[Job]) -> None:
        """Put jobs in line, for the first time or again."""
        if not jobs:
            return
        with self._changed:
            for job in jobs:
                self._numbers += 1
                heapq.heappush(self._heap, (job.due, self._numbers, job))
            self._changed.notify(len(jobs))

    def take(self) -> Job | None:
        """Take the first job out of the line; None where there is none."""
        with self._changed:
            return heapq.heappop(self._heap)[2] if self._heap else None

    def wait(self) -> bool:
        """Wait until a job is there; return False when none is and none will come."""
        with self._changed:
            while not self._heap and not self._closed:
                self._changed.wait()
            return bool(self._heap)

    def close(self) -> None:
        """End the waiting of those who find the line empty."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def note_closed_job(self) -> None:
        """Count a job that was closed in line; such jobs never outnumber the others for long."""
        with self._changed:
            self._stale += 1
            if 2 * self._stale > len(self._heap):
                self._heap = [entry for entry in self._heap if not entry[2].closed]
                heapq.heapify(self._heap)
                self._stale = 0
