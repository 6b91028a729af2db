"""The bounded queue between the event loop and the writer of the inference log, with the counters of both sides."""

import threading
import time
from collections import Counter, deque
from typing import Any

_MAX_KINDS = 50
_MAX_ALERTS = 20


class RowQueue:
    """Rows that wait for the writer. All methods hold the lock for microseconds only.

    Attributes:
        overflowing: whether rows are being dropped; over when the writer has taken all that waited.
        closed: whether no more rows are taken.
        alerts: what W&B is to tell people, oldest first; the last ones where they are too many.
        deadline: the time, as of `time.monotonic`, past which the writer may not wait for anything.
    """

    def __init__(self, limit: int) -> None:
        """Make an empty queue for `limit` rows."""
        self._limit = limit
        self._rows: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._received = 0
        self._written = 0
        self._converted = 0
        self._dropped: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self.alerts: deque[dict[str, str]] = deque(maxlen=_MAX_ALERTS)
        self.overflowing = False
        self.closed = False
        self.deadline = float("inf")

    def __len__(self) -> int:
        """Return how many rows wait."""
        return len(self._rows)

    def put(self, row: dict[str, Any]) -> None:
        """Give a row its `sequence` and take it, or drop it when the queue is full or closed."""
        with self._changed:
            row["sequence"] = self._received
            self._received += 1
            if self.closed:
                self._dropped["stopped"] += 1
            elif len(self._rows) >= self._limit:
                self._dropped["queue-full"] += 1
                self.overflowing = True
            else:
                self._rows.append(row)
                self._changed.notify()

    def take(self, most: int, seconds: float) -> list[dict[str, Any]]:
        """Return the next rows, waiting up to `seconds` for the first one unless the queue is closed."""
        with self._changed:
            if not self._rows and not self.closed:
                self._changed.wait(seconds)
            taken = [self._rows.popleft() for _ in range(min(most, len(self._rows)))]
            self.overflowing = self.overflowing and bool(self._rows)
            return taken

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the queue is closed."""
        end = time.monotonic() + seconds
        with self._changed:
            while not self.closed and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def close(self, deadline: float) -> None:
        """Take no more rows; whoever waits goes on."""
        with self._changed:
            self.closed = True
            self.deadline = deadline
            self._changed.notify_all()

    def discard(self, reason: str) -> None:
        """Drop all rows that wait."""
        with self._changed:
            self._count(self._dropped, reason, len(self._rows))
            self._rows.clear()

    def drop(self, reason: str, count: int) -> None:
        """Count rows that were taken, or never came in, as dropped."""
        with self._changed:
            self._count(self._dropped, reason, count)

    def refuse(self, reason: str) -> None:
        """Count a row that could not even be put in as received and dropped."""
        with self._changed:
            self._received += 1
            self._dropped[reason] += 1

    def add_written(self, count: int) -> None:
        """Count rows that the run has taken; a negative number takes them back."""
        with self._changed:
            self._written += count

    def add_converted(self, count: int) -> None:
        """Count values that were no JSON scalars."""
        with self._changed:
            self._converted += count

    def count_error(self, kind: str) -> None:
        """Count a request that got no prediction."""
        with self._changed:
            known = kind in self._errors or len(self._errors) < _MAX_KINDS
            self._errors[kind if known else "other"] += 1

    def totals(self) -> dict[str, Any]:
        """Return `received`, `written`, `converted`, `dropped` by reason and `errors` by kind."""
        with self._changed:
            return {
                "received": self._received,
                "written": self._written,
                "converted": self._converted,
                "dropped": dict(self._dropped),
                "errors": dict(self._errors),
            }

    @staticmethod
    def _count(counter: Counter[str], name: str, count: int) -> None:
        if count:
            counter[name] += count
