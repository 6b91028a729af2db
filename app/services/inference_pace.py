"""How many rows may go into a run's history: W&B advises fewer than 1,000 a minute."""

import time
from collections import deque
from collections.abc import Callable

_WINDOW_SECONDS = 60


class HistoryPace:
    """Counts the rows of the last minute."""

    def __init__(self, rows_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing spent.

        Args:
            rows_per_minute: most rows in any minute.
            clock: tells the time in seconds; another one in tests.
        """
        self._limit = rows_per_minute
        self._clock = clock
        self._spent: deque[tuple[float, int]] = deque()
        self._sampled_at = clock()

    def allowance(self) -> int:
        """Return how many rows may be written now."""
        oldest = self._clock() - _WINDOW_SECONDS
        while self._spent and self._spent[0][0] <= oldest:
            self._spent.popleft()
        return max(self._limit - sum(rows for _, rows in self._spent), 0)

    def spend(self, rows: int) -> None:
        """Count rows as written."""
        if rows:
            self._spent.append((self._clock(), rows))

    def share(self, rows: int) -> int:
        """Return how many of so many rows history may carry, so that what it may carry is spread over the minute."""
        now = self._clock()
        passed = min(now - self._sampled_at, _WINDOW_SECONDS)
        most = int(self._limit * passed / _WINDOW_SECONDS)
        if most:
            self._sampled_at = now
        return min(most, rows, self.allowance())


def evenly(rows: list[bytes], count: int) -> list[bytes]:
    """Return `count` of the rows, at even distances."""
    return [rows[index * len(rows) // count] for index in range(count)]
