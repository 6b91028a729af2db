"""The inference log: rows go into a bounded queue in microseconds, and a thread of its own sends them to W&B.

Nothing here makes a request wait or fail. What does not arrive is counted by its reason.
"""

import os
import threading
import time
import uuid
import weakref
from typing import Any, Literal

from loguru import logger

from app.core.config import Settings
from app.services.artifact import ModelFiles
from app.services.inference_run import OpenRun
from app.services.inference_writer import InferenceWriter
from app.services.privacy import TextPrivacy
from app.services.row_queue import RowQueue
from app.services.wandb_run import WandbRun

_SPARE_SECONDS = 0.3
"""Part of the time to stop that the writer leaves over, so that what it lost is counted and logged in time."""


class InferenceLog:
    """Logs inferences to W&B; safe to call whatever state W&B is in."""

    instance: str
    """This instance's id."""

    def __init__(self, settings: Settings, open_run: OpenRun = WandbRun) -> None:
        """Remember the settings; nothing is opened or started.

        Args:
            settings: the configuration.
            open_run: opens a run; another one than W&B's in tests.
        """
        self._settings = settings
        self._open_run = open_run
        self._privacy = TextPrivacy(settings)
        self._files: ModelFiles | None = None
        self.instance = uuid.uuid4().hex[:12]
        self._queue = RowQueue(settings.inference_log_queue)
        self._starting = threading.Lock()
        self._writing: tuple[InferenceWriter, threading.Thread] | None = None
        log = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(log))

    def start(self, files: ModelFiles) -> None:
        """Get ready for rows about this model. The run is opened by the first of them."""
        self._files = files

    def record(self, row: dict[str, Any]) -> None:
        """Log one inference; `text` is masked, hashed, left out or cut as the settings say.

        Takes microseconds, never waits for W&B and never raises. The row gets `instance` and `sequence`, which has
        no gaps: one that is seen in W&B is a row that was dropped.
        """
        if not self._settings.inference_log:
            return
        try:
            kept = {**row, "instance": self.instance}
            if isinstance(text := kept.get("text"), str):
                kept["text"] = self._privacy.shorten(text)
        except Exception as error:  # noqa: BLE001  # No prediction fails because of its log.
            self._queue.refuse("unreadable")
            logger.debug("an inference could not be logged: {}", type(error).__name__)
            return
        if self._files is None:
            self._queue.refuse("not-started")
            return
        self._queue.put(kept)
        if self._writing is None and not self._queue.closed:
            self._start_thread(self._files)

    def record_window(self, values: dict[str, float | int | str]) -> None:
        """Log the figures of one window, under flat keys such as ``window/volume``, as a row. Never raises."""
        if self._settings.inference_log and self._files is not None:
            self._queue.put({**values, "window/instance": self.instance})
            if self._writing is None and not self._queue.closed:
                self._start_thread(self._files)

    def alert(self, title: str, text: str, level: Literal["INFO", "WARN", "ERROR"] = "WARN") -> None:
        """Have W&B tell people about a change of state, once, as soon as a run is open. Never waits and never raises.

        Args:
            title: up to 64 characters.
            text: what happened, and what to do.
            level: how bad it is.
        """
        if self._settings.inference_log:
            self._queue.alerts.append({"title": title[:64], "text": text, "level": level})

    def count_error(self, kind: str) -> None:
        """Count a request that ended without a prediction; the counts go to the run's summary. Never raises."""
        self._queue.count_error(kind)

    def health(self) -> dict[str, Any]:
        """Return `state` (off, idle, ok, degraded, offline), `reason`, `instance`, `run` and the counters.

        `received` is `written`, `waiting` and all of `dropped` together. `written` rows were taken by W&B's client;
        what turns out not to have arrived when a run ends moves to `dropped` as `unconfirmed`.
        """
        state, reason, run, waiting = self._writing[0].status() if self._writing else ("idle", None, None, 0)
        if self._queue.overflowing and state != "degraded":
            state, reason = "degraded", "the queue is full"
        if not self._settings.inference_log:
            state, reason = "off", "INFERENCE_LOG=false"
        return {
            "state": state,
            "reason": reason,
            "instance": self.instance,
            "run": run,
            "waiting": waiting + len(self._queue),
            **self._queue.totals(),
        }

    def stop(self, timeout: float) -> None:
        """Send what is queued, finish the run, and count what is lost; back within `timeout` seconds."""
        end = time.monotonic() + timeout
        self._queue.close(end - min(_SPARE_SECONDS, timeout / 4))
        if self._writing is not None:
            writer, thread = self._writing
            thread.join(max(end - time.monotonic(), 0))
            writer.abandon()
        self._queue.discard("shutdown")
        totals = self._queue.totals()
        if lost := totals["dropped"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lost.items()))
            logger.warning("{} inferences were logged, others were dropped: {}", totals["written"], reasons)

    def _start_thread(self, files: ModelFiles) -> None:
        with self._starting:
            if self._writing is not None:
                return
            writer = InferenceWriter(
                self._settings, files, self.instance, self._queue, self._privacy, self._open_run
            )
            # A daemon: Python's end does not wait for it, whatever it waits for.
            thread = threading.Thread(target=writer.run, name="inference-log", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # No more threads; the next row tries again, and this one waits.
                logger.debug("the inference log's thread could not be started: {}", error)
                return
            self._writing = writer, thread

    def _begin_again(self) -> None:
        """Make the log of a forked process, which has no writer, an instance of its own."""
        self.instance = uuid.uuid4().hex[:12]
        self._queue = RowQueue(self._settings.inference_log_queue)
        self._starting = threading.Lock()
        self._writing = None


def _after_fork(log: "weakref.ref[InferenceLog]") -> None:
    if (found := log()) is not None:
        found._begin_again()
