"""What is wrong with the inference log, told once when it begins and once when it ends; and alerts on their way.

The alert about it comes from the monitor, which follows the log's state as it follows others.
"""

from collections import deque
from collections.abc import Iterator

from loguru import logger

from app.services.spool import Spool

_MOST_ALERTS = 20


class Trouble:
    """What is wrong with the log, and the alerts that wait for a run.

    Attributes:
        reason: why the log is degraded; None while it is not.
        alerts: what W&B is to tell people, oldest first; the last ones where they are too many.
    """

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self.reason: str | None = None
        self.alerts: deque[dict[str, str]] = deque(maxlen=_MOST_ALERTS)
        self._disk: str | None = None

    def begin(self, reason: str) -> None:
        """The log is degraded: a warning, if it was not before."""
        if self.reason is None:
            logger.warning("the inference log is degraded, predictions go on: {}", reason)
        self.reason = reason

    def end(self) -> None:
        """The log works."""
        if self.reason is not None:
            logger.info("the inference log works again")
            self.reason = None

    def watch(self, spool: Spool) -> None:
        """Tell once that rows are in memory only, or are dropped since the spool is full."""
        trouble = spool.trouble or ("the spool is full" if spool.full else None)
        if trouble is not None and self._disk is None:
            logger.warning("the inference log is degraded, predictions go on: {}", trouble)
        self._disk = trouble

    def pop_alerts(self) -> Iterator[dict[str, str]]:
        """Yield the alerts; each is forgotten when the next one is asked for."""
        while self.alerts:
            yield self.alerts[0]
            self.alerts.popleft()
