"""The thread behind the inference log: takes rows from the spools and gives them to one W&B run after the other.

What a run that died had not delivered is still in the spool, and goes to the next run: a row may arrive twice, and its
`id` tells.
"""

import shutil
import threading
import time
from collections import deque
from pathlib import Path

from loguru import logger

from app.core.config import Settings
from app.core.errors import MarqueeError
from app.services.artifact import ModelFiles
from app.services.inference_backoff import MOST_OPEN_DELAY, RunBackoff
from app.services.inference_counts import Counts
from app.services.inference_delivery import Delivery, NoDiskError
from app.services.inference_pace import HistoryPace
from app.services.inference_run import OpenRun, RunLostError, run_request
from app.services.inference_source import Source, adopted_sources
from app.services.inference_trouble import Trouble
from app.services.spool import Spool

_MOST = 1_000
_SENDS = 5
_TICK_SECONDS = 2.0
_GATHER_SECONDS = 0.2
_HURRY_SECONDS = 0.02
_FINISH_SECONDS = 30
_TROUBLED_FINISH_SECONDS = 10
_END_SHARE = 0.6
_NO_DISK_SECONDS = 30


class InferenceWriter:
    """Runs in a thread of its own; other threads ask for its status, wake it, and abandon it at the end.

    Attributes:
        wake: set when there are rows.
        hurry: whether somebody waits for rows to be confirmed.
        trouble: what is wrong, and what W&B is to tell people.
        adopted_bytes: size on disk of what ended processes left.
    """

    def __init__(
        self,
        settings: Settings,
        files: ModelFiles,
        instance: str,
        spool: Spool,
        counts: Counts,
        open_run: OpenRun,
    ) -> None:
        """Remember the parts; nothing is opened.

        Args:
            settings: the configuration.
            files: the model that the rows are about.
            instance: this instance's id.
            spool: where the rows come from.
            counts: where they are counted.
            open_run: opens a run.
        """
        self._settings = settings
        self._instance = instance
        self._counts = counts
        self._open_run = open_run
        self._pace = HistoryPace(settings.inference_log_rows_per_minute)
        self._own = Source(spool, own=True)
        self._sources = [self._own]
        self._files = files
        self._models: deque[tuple[int, ModelFiles]] = deque()
        self._delivery: Delivery | None = None
        self._dead: Delivery | None = None
        self._runs = 0
        self._backoff = RunBackoff()
        self._no_disk_until = 0.0
        self.trouble = Trouble()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._end_seconds = 0.0
        self._hopeless = False
        self._over = False
        self.wake = threading.Event()
        self.hurry = False
        self.adopted_bytes = 0

    def run(self) -> None:
        """Send rows until the log is closed and all are sent, or its time is over."""
        for source in adopted_sources(self._settings, self._counts):
            self._sources.append(source)
            self.adopted_bytes += source.spool.size
        while not self._done():
            try:
                self._step()
            except RunLostError as error:
                self._lose(str(error))
            except Exception as error:  # noqa: BLE001  # The thread must live on, whatever it met.
                self._lose(f"{type(error).__name__}: {error}")
                self._closing.wait(MOST_OPEN_DELAY)
                self._hopeless = self._closing.is_set()
        self._close()

    def status(self) -> tuple[str, str | None, dict[str, str | None] | None]:
        """Return the state, its reason, and the open run's path, url and folder."""
        delivery = self._delivery
        if delivery is None:
            opening = "a run is being opened" if self._own.waiting and not self.trouble.reason else None
            return "degraded" if self.trouble.reason else "idle", self.trouble.reason or opening, None
        run = delivery.run
        state = "degraded" if self.trouble.reason else "ok" if delivery.online else "offline"
        return state, self.trouble.reason, {"path": run.path, "url": run.url, "folder": run.folder}

    @property
    def in_flight(self) -> int:
        """Rows that W&B's client was given, and W&B is not known to have."""
        return sum(chunk.inferences for chunk in list(self._own.flight))

    def swap(self, files: ModelFiles) -> None:
        """Have the rows from now on go to a run of another model."""
        self._models.append((self._own.spool.appended, files))
        self.wake.set()

    def close(self, deadline: float) -> None:
        """Send what there is and end, before a time as of `time.monotonic`."""
        self._deadline = deadline
        self._end_seconds = _END_SHARE * (deadline - time.monotonic())
        self.hurry = True
        self._closing.set()
        self.wake.set()

    def abandon(self) -> None:
        """End what is not over yet. Called by another thread when the time is up."""
        self._over = True
        for delivery in (self._delivery, self._dead):
            if delivery is not None:
                delivery.run.kill()

    @property
    def _time_to_send(self) -> float:
        """When to stop sending at the latest, to have time for the end of the run."""
        return self._deadline if self._delivery is None else self._deadline - self._end_seconds

    def _done(self) -> bool:
        if not self._closing.is_set():
            return False
        return (
            self._hopeless
            or not (self._own.waiting or self._undelivered)
            or time.monotonic() > self._time_to_send
        )

    @property
    def _undelivered(self) -> bool:
        """Whether the last run died with rows that the next one must be given."""
        return self._dead is not None and any(source.flight for source in self._sources)

    def _step(self) -> None:
        if not self._closing.is_set():
            self.wake.wait(_HURRY_SECONDS if self.hurry else _TICK_SECONDS)
            self.wake.clear()
        self.trouble.watch(self._own.spool)
        self._own.spool.save_memory()
        if self._delivery is not None:
            reason = self._delivery.tend(self.trouble.pop_alerts(), hurry=self.hurry)
            if reason is not None or self._delivery.over:
                self._end(reason)
        self._switch_model()
        if self._delivery is None and self._undelivered:
            self._open()
        for source in list(self._sources):
            sent = sum(1 for _ in range(_SENDS) if self._send_some(source))
            if not source.own and not source.spool.rows:
                source.spool.close()
                self._sources.remove(source)
                self.adopted_bytes = sum(other.spool.size for other in self._sources if not other.own)
            if sent == _SENDS:
                self.wake.set()
        # Rows that come close after each other go together, and nothing here ever spins.
        time.sleep(_HURRY_SECONDS if self.hurry else _GATHER_SECONDS)

    def _send_some(self, source: Source) -> bool:
        """Send the next rows of a spool; return whether there may be more to send at once."""
        most = self._most(source)
        if not source.waiting or most <= 0 or self._over:
            return False
        if self._delivery is None and not self._open():
            return False
        assert self._delivery is not None
        if self._delivery.held or self._delivery.over:
            return False
        folder = self._own.spool.folder
        if time.monotonic() < self._no_disk_until:
            folder, most = None, min(most, self._pace.allowance())
        try:
            lines, start, end = source.peek(most)
            if len(lines) > (fewer := self._most(source)):
                # Another model came meanwhile, and some of these rows are about it.
                if fewer <= 0:
                    return False
                lines, start, end = source.peek(fewer)
        except OSError as error:
            rows = source.skip()
            self.trouble.begin(f"{rows} rows cannot be read from the spool: {error.strerror or error}")
            return True
        if not lines:
            return False
        try:
            self._delivery.send(source, lines, start, end, folder)
        except NoDiskError:
            self._no_disk_until = time.monotonic() + _NO_DISK_SECONDS
            return False
        self.trouble.end()
        return True

    def _most(self, source: Source) -> int:
        """Return how many rows may be taken at once: those of one model."""
        if source is self._own and self._models:
            return min(_MOST, self._models[0][0] - source.taken)
        return _MOST

    def _open(self) -> bool:
        """Open a run, if it is time to; find out what the last one had delivered, and take the rest back."""
        if not self._backoff.due and not self._closing.is_set():
            return False
        if self._closing.is_set() and self._backoff.failing:
            self._hopeless = True
            return False
        request = run_request(self._settings, self._files, self._instance, self._runs + 1)
        try:
            run = self._open_run(request, lambda: self._deadline)
        except (RunLostError, MarqueeError, OSError) as error:
            self._backoff.not_opened()
            self.trouble.begin(f"no run could be opened: {error}")
            return False
        self._runs += 1
        self._backoff.opened()
        delivery = Delivery(
            run, self._sources, self._counts, self._pace, self._settings, self._backoff.patience
        )
        self._delivery = delivery
        dead, self._dead = self._dead, None
        if dead is not None and dead.run.path and (found := run.stored(dead.run.path)):
            dead.apply(found)
        for source in self._sources:
            source.rewind()
        if delivery.online:
            self._own.spool.note_client(Path(run.folder))
            logger.info("inferences are logged to {}", run.url)
        else:
            logger.info(
                "inferences are kept in W&B's offline format; to send them: wandb sync {}", run.folder
            )
        return True

    def _end(self, reason: str | None) -> None:
        """Finish the run: it is full or old, or, for a reason, of no more use."""
        assert self._delivery is not None
        ended = self._delivery
        most = _FINISH_SECONDS if reason is None else _TROUBLED_FINISH_SECONDS
        seconds = min(most, max(self._deadline - time.monotonic(), 0))
        complete = ended.close(seconds)
        if not complete:
            self._lose(reason or "W&B did not show all rows of the run")
            return
        self._delivery = None
        self._forget(ended)
        if reason is None:
            self._backoff.ended_well()
        else:
            self._backoff.died(ended.since)
            self.trouble.begin(reason)

    def _lose(self, reason: str) -> None:
        """Give the run up; the next one gets what it did not deliver."""
        lost, self._delivery = self._delivery, None
        if lost is None:
            self.trouble.begin(reason)
            return
        lost.kill()
        self._forget(lost)
        self._dead = lost
        self._backoff.unconfirmed()
        self._backoff.died(lost.since)
        self.trouble.begin(reason)

    def _switch_model(self) -> None:
        while self._models and self._own.taken >= self._models[0][0]:
            self._files = self._models.popleft()[1]
            if self._delivery is not None:
                self._end(None)

    def _close(self) -> None:
        """Finish the last run in the time that is left, and let go of what ended processes left."""
        delivery = self._delivery
        if delivery is not None and not self._over:
            try:
                delivery.tend(self.trouble.pop_alerts(), hurry=False)
                complete = delivery.close(min(self._deadline - time.monotonic(), _FINISH_SECONDS))
            except RunLostError as error:
                complete = False
                logger.debug("the run could not be finished: {}", error)
            delivery.kill()
            if complete or delivery.online:
                self._forget(delivery)
        self._delivery = None
        for source in self._sources[1:]:
            source.spool.close()

    def _forget(self, ended: Delivery) -> None:
        """Delete what the client kept of a run: the spool has what W&B lacks. An offline run is all that there is."""
        if ended.online:
            shutil.rmtree(ended.run.folder, ignore_errors=True)
