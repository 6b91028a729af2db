"""The thread behind the inference log: takes rows from the queue and writes them to one W&B run after the other.

A row is dropped only when it has been counted. What a run that died had not delivered is written again to the next one,
so a row may arrive twice; its `id` tells.
"""

import itertools
import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from loguru import logger

from app.core.config import Settings
from app.core.errors import MarqueeError
from app.services.artifact import ModelFiles
from app.services.inference_rows import encode_row
from app.services.inference_run import OpenRun, Run, RunLostError, run_request
from app.services.privacy import TextPrivacy
from app.services.row_queue import RowQueue

MAX_ROWS = 50_000
"""Rows of one run; W&B advises to stay well under 100,000."""
MAX_AGE_SECONDS = 86_400

_BATCH = 200
_TICK_SECONDS = 2
_SUMMARY_SECONDS = 30
_FINISH_SECONDS = 30
_LONG_LIFE_SECONDS = 600
_MOST_OPEN_DELAY = 60
_MOST_DEATH_DELAY = 600


@dataclass(slots=True)
class _Held:
    """A run that is open, or has died and may have left rows behind: the last ones are kept to be sent again."""

    run: Run
    kept: deque[bytes]
    since: float
    sent: int = 0


class InferenceWriter:
    """Runs in a thread of its own; other threads only ask for its status, and abandon it at the end."""

    def __init__(
        self,
        settings: Settings,
        files: ModelFiles,
        instance: str,
        queue: RowQueue,
        privacy: TextPrivacy,
        open_run: OpenRun,
    ) -> None:
        """Remember the parts; nothing is opened.

        Args:
            settings: the configuration.
            files: the model that the rows are about.
            instance: this instance's id.
            queue: where the rows come from, and where they are counted.
            privacy: what may be stored of a text.
            open_run: opens a run.
        """
        self._settings = settings
        self._files = files
        self._instance = instance
        self._queue = queue
        self._privacy = privacy
        self._open_run = open_run
        self._online = settings.wandb_api_key is not None and settings.inference_project is not None
        self._lock = threading.Lock()
        self._pending: deque[bytes] = deque()
        self._current: _Held | None = None
        self._dead: _Held | None = None
        self._runs = 0
        self._failures = 0
        self._deaths = 0
        self._next_try = 0.0
        self._hopeless = False
        self._reason: str | None = None
        self._warned_of_overflow = False
        self._summary: dict[str, Any] = {}
        self._next_summary = 0.0
        self._over = False

    def run(self) -> None:
        """Write rows until the queue is closed and empty, or its deadline is over."""
        while not self._done():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001  # The thread must live on, whatever it met.
                self._degrade(f"{type(error).__name__}: {error}")
                self._queue.pause(_MOST_OPEN_DELAY)
                self._hopeless = self._queue.closed
        self._close()

    def status(self) -> tuple[str, str | None, dict[str, str | None] | None, int]:
        """Return the state, its reason, the open run's path, url and folder, and how many rows are in hand."""
        current = self._current
        run = current.run if current else None
        state = "degraded" if self._reason else "idle" if run is None else "ok" if self._online else "offline"
        shown = {"path": run.path, "url": run.url, "folder": run.folder} if run else None
        waiting = len(self._pending)
        reason = self._reason or ("a run is being opened" if waiting and run is None else None)
        return state, reason, shown, waiting

    def abandon(self) -> None:
        """End what is not over yet, and count it as lost. Called by another thread when the time is up."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._count_lost("shutdown", None)
            current = self._current
        if current is not None:
            current.run.kill()

    def _done(self) -> bool:
        queue = self._queue
        left = self._pending or len(queue) or (self._dead and self._dead.kept)
        return queue.closed and (not left or self._hopeless or time.monotonic() > queue.deadline)

    def _step(self) -> None:
        if not self._pending:
            for row in self._queue.take(_BATCH, _TICK_SECONDS):
                self._pending.append(self._encode(row))
        self._watch_overflow()
        if self._current is not None and self._current.run.stopped():
            self._end("W&B ended the run: it was stopped there, or its rows were refused")
        if not self._pending and self._dead is None and not (self._current and self._queue.alerts):
            self._summarize()
        elif self._current is not None or self._open():
            self._write()

    def _encode(self, row: dict[str, Any]) -> bytes:
        if isinstance(text := row.get("text"), str):
            row["text"] = self._privacy.protect(text)
        encoded, changed = encode_row(row)
        if changed:
            self._queue.add_converted(changed)
        return encoded

    def _open(self) -> bool:
        """Open a run, if it is time to; write again what the last one had not delivered."""
        self._queue.pause(self._next_try - time.monotonic())
        if self._queue.closed and self._failures:
            self._hopeless = True
            return False
        request = run_request(self._settings, self._files, self._instance, self._runs + 1)
        try:
            run = self._open_run(request, lambda: self._queue.deadline)
        except (RunLostError, MarqueeError, OSError) as error:
            self._failures += 1
            self._next_try = time.monotonic() + min(2**self._failures, _MOST_OPEN_DELAY)
            self._degrade(f"no run could be opened: {error}")
            return False
        self._runs += 1
        self._failures = 0
        self._summary = {}
        self._current = _Held(run, deque(maxlen=self._settings.inference_log_queue), time.monotonic())
        try:
            if self._dead is not None:
                path = self._dead.run.path
                self._take_back(self._dead, run.stored(path) if path else None)
                self._dead = None
        except RunLostError as error:
            self._lose(str(error))
            return False
        if self._online:
            logger.info("inferences are logged to {}", run.url)
        else:
            logger.info(
                "inferences are kept in W&B's offline format; to send them: wandb sync {}", run.folder
            )
        return True

    def _write(self) -> None:
        assert self._current is not None
        batch = list(itertools.islice(self._pending, _BATCH))
        try:
            if batch:
                self._current.run.write(batch)
        except RunLostError as error:
            self._move(error.written)
            self._lose(str(error))
            return
        self._move(len(batch))
        try:
            while self._queue.alerts:
                self._current.run.alert(**self._queue.alerts[0])
                self._queue.alerts.popleft()
        except RunLostError as error:
            self._lose(str(error))
            return
        if self._reason is not None:
            logger.info("the inference log works again")
            self._reason = None
        age = time.monotonic() - self._current.since
        if self._current.sent >= MAX_ROWS or age > MAX_AGE_SECONDS:
            self._end(None)
        else:
            self._summarize()

    def _move(self, count: int) -> None:
        """Note that the run has taken the first rows in hand."""
        with self._lock:
            if self._over or self._current is None:
                return
            for _ in range(count):
                self._current.kept.append(self._pending.popleft())
            self._current.sent += count
            self._queue.add_written(count)

    def _end(self, reason: str | None) -> None:
        """Finish the run: it is full or old, or, for a reason, of no more use."""
        assert self._current is not None
        ended = self._current
        try:
            ended.run.summarize(self._totals())
            stored = ended.run.finish(_FINISH_SECONDS)
        except RunLostError as error:
            self._lose(reason or str(error))
            return
        if stored is None:
            self._lose(reason or "W&B does not say what it has of the run")
            return
        self._current = None
        self._take_back(ended, stored)
        if stored >= ended.sent:
            self._forget(ended)
        elif reason is None:
            reason = "W&B did not take all rows of the run"
        self._delay(ended, reason)

    def _lose(self, reason: str) -> None:
        """Give the run up; the next one gets what it did not deliver."""
        assert self._current is not None
        lost = self._current
        lost.run.kill()
        self._current = None
        if lost.sent:
            self._dead = lost
        self._delay(lost, reason)

    def _delay(self, ended: _Held, reason: str | None) -> None:
        """Put the next run off the longer, the more runs in a row have ended for a reason soon after their start."""
        if reason is None:
            self._deaths = 0
            return
        self._deaths = 1 if time.monotonic() - ended.since > _LONG_LIFE_SECONDS else self._deaths + 1
        self._next_try = time.monotonic() + min(2 ** (self._deaths - 1), _MOST_DEATH_DELAY)
        self._degrade(reason)

    def _take_back(self, dead: _Held, stored: int | None) -> None:
        """Put rows that W&B does not have back in hand; all that are kept if it does not say what it has."""
        with self._lock:
            if self._over:
                return
            first = dead.sent - len(dead.kept)
            stored = first if stored is None else min(stored, dead.sent)
            again = list(dead.kept)[max(stored - first, 0) :]
            gone = max(first - stored, 0)
            self._pending.extendleft(reversed(again))
            self._queue.add_written(-len(again) - gone)
            self._queue.drop("unconfirmed", gone)

    def _summarize(self) -> None:
        """Keep the counters in the run's summary up to date, now and then."""
        if self._current is None or time.monotonic() < self._next_summary:
            return
        self._next_summary = time.monotonic() + _SUMMARY_SECONDS
        totals = self._totals()
        if totals != self._summary:
            try:
                self._current.run.summarize(totals)
                self._summary = totals
            except RunLostError as error:
                self._lose(str(error))

    def _totals(self) -> dict[str, Any]:
        totals = self._queue.totals()
        flat = {name: value for name, value in totals.items() if isinstance(value, int)}
        for name in ("dropped", "errors"):
            flat |= {f"{name}/{kind}": count for kind, count in totals[name].items()}
        return flat

    def _close(self) -> None:
        """Finish the last run in the time that is left, and count what is lost."""
        current, stored = self._current, None
        if current is not None:
            try:
                current.run.summarize(self._totals())
                stored = current.run.finish(min(self._queue.deadline - time.monotonic(), _FINISH_SECONDS))
            except RunLostError as error:
                logger.debug("the run could not be finished: {}", error)
                current.run.kill()
        with self._lock:
            if self._over:
                return
            self._over = True
            self._count_lost("no-run" if self._hopeless else "shutdown", stored)
            self._current = None
        if current is not None and stored is not None and stored >= current.sent:
            self._forget(current)
        elif current is not None:
            logger.warning(
                "W&B has not confirmed all rows of the last run; to send them: wandb sync {}",
                current.run.folder,
            )

    def _count_lost(self, reason: str, stored: int | None) -> None:
        """Count what will not be written, and what W&B has not confirmed."""
        self._queue.discard(reason)
        self._queue.drop(reason, len(self._pending))
        self._pending.clear()
        for ended in (self._current, self._dead):
            if ended is not None:
                known = stored if ended is self._current else None
                missing = len(ended.kept) if known is None else max(ended.sent - known, 0)
                self._queue.add_written(-missing)
                self._queue.drop("unconfirmed", missing)

    def _forget(self, ended: _Held) -> None:
        """Delete what the client kept of a run that W&B has whole; an offline run is all that there is."""
        if self._online:
            shutil.rmtree(ended.run.folder, ignore_errors=True)

    def _degrade(self, reason: str) -> None:
        if self._reason is None:
            logger.warning("the inference log is degraded, predictions go on: {}", reason)
        self._reason = reason

    def _watch_overflow(self) -> None:
        if self._queue.overflowing and not self._warned_of_overflow:
            logger.warning("the inference log's queue is full: inferences are dropped and counted")
        self._warned_of_overflow = self._queue.overflowing
