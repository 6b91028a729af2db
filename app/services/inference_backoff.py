"""When W&B may be tried again: the longer, the more runs in a row could not be opened or died soon."""

import time

MOST_OPEN_DELAY = 60
"""Seconds between two tries to open a run, at most."""
_MOST_DEATH_DELAY = 600
_LONG_LIFE_SECONDS = 600
_MOST_PATIENCE = 16


class RunBackoff:
    """What the ends of runs so far say about the next one.

    Attributes:
        patience: by how much longer than usual the next run may take to show its rows.
    """

    def __init__(self) -> None:
        """Nothing has failed: a run may be opened at once."""
        self._failures = 0
        self._deaths = 0
        self._next_try = 0.0
        self.patience = 1.0

    @property
    def due(self) -> bool:
        """Whether a run may be opened now."""
        return time.monotonic() >= self._next_try

    @property
    def failing(self) -> bool:
        """Whether the last try to open a run failed."""
        return self._failures > 0

    def not_opened(self) -> None:
        """Put the next try off, since this one failed."""
        self._failures += 1
        self._next_try = time.monotonic() + min(2**self._failures, MOST_OPEN_DELAY)

    def opened(self) -> None:
        """Take note that a run was opened."""
        self._failures = 0

    def unconfirmed(self) -> None:
        """Give the next run more time, since this one was given up with rows that W&B did not show."""
        self.patience = min(self.patience * 2, _MOST_PATIENCE)

    def died(self, since: float) -> None:
        """Put the next run off, since one that was opened at `since` (`time.monotonic`) was of no more use."""
        self._deaths = 1 if time.monotonic() - since > _LONG_LIFE_SECONDS else self._deaths + 1
        self._next_try = time.monotonic() + min(2 ** (self._deaths - 1), _MOST_DEATH_DELAY)

    def ended_well(self) -> None:
        """Take note that a run ended because it was full, old, or of another model."""
        self._deaths, self.patience = 0, 1.0
