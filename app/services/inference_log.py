"""The inference log: a row is on disk in microseconds, and a thread of its own sends it to W&B.

Nothing here makes a request fail. What does not arrive is counted by its reason, and what W&B is not known to have is
kept for the next start.
"""

import asyncio
import os
import threading
import time
import uuid
import weakref
import zlib
from datetime import UTC, datetime
from typing import Any, Literal

from loguru import logger

from app.core.config import Settings
from app.services.artifact import ModelFiles
from app.services.inference_counts import Counts
from app.services.inference_rows import encode_row
from app.services.inference_run import OpenRun
from app.services.inference_writer import InferenceWriter
from app.services.privacy import TextPrivacy
from app.services.spool import Spool
from app.services.spool_folder import Destination, leftovers
from app.services.wandb_run import WandbRun

_SPARE_SECONDS = 0.3
"""Part of the time to stop that the writer leaves over, so that what is left is counted and logged in time."""
_POLL_SECONDS = 0.01


class InferenceLog:
    """Logs inferences to W&B; safe to call whatever state W&B and the disk are in.

    Attributes:
        instance: this instance's id.
    """

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
        self._closed = False
        self._begin()
        log = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(log))

    def start(self, files: ModelFiles) -> None:
        """Get ready for rows about this model; called again, the rows from then on go to a run of the new model.

        A run is opened by the first row, or by rows that an ended process has left.
        """
        self._files = files
        if not self._settings.inference_log:
            return
        if self._writing is not None:
            self._writing[0].swap(files)
        elif leftovers(self._settings.state_dir / "spool"):
            self._start_thread(files)

    def record(self, row: dict[str, Any]) -> None:
        """Log one inference; `text` is masked, hashed, left out or cut as the settings say.

        When this returns, the row is in the spool or counted as dropped; that takes microseconds. Never raises. The row
        gets `instance` and `sequence`: a number that is missing in W&B is a row that was dropped. A row with a `kind`,
        such as feedback, is none of the inferences that INFERENCE_LOG_SAMPLE is about.
        """
        if not self._settings.inference_log:
            return
        sequence = self._counts.receive()
        if self._closed or self._files is None:
            self._counts.drop("stopped" if self._closed else "not-started")
            return
        try:
            row_id = str(row.get("id") or f"{self.instance}-{sequence}")
            if "kind" not in row and not _sampled(row_id, self._settings.inference_log_sample):
                self._counts.drop("sampled")
                return
            kept = {**row, "id": row_id, "instance": self.instance, "sequence": sequence}
            if isinstance(text := kept.get("text"), str):
                kept["text"] = self._privacy.protect(text) or None
            line, changed = encode_row(kept)
            if changed:
                self._counts.convert(changed)
            reason = self._append(line)
        except Exception as error:  # noqa: BLE001  # No prediction fails because of its log.
            reason = "unreadable"
            logger.debug("an inference could not be logged: {}", type(error).__name__)
        if reason is not None:
            self._counts.drop(reason)

    def record_window(self, values: dict[str, float | int | str]) -> None:
        """Log the figures of one window, under flat keys such as ``window/volume``, as a row of its own. Never raises.

        It gets `window/id`, `window/instance` and `window/time`, goes to the run's history whatever the volume, and is
        spooled like an inference.
        """
        if not self._settings.inference_log or self._files is None or self._closed:
            return
        self._counts.count_window("received")
        try:
            # The id comes first: it is what tells a window from an inference.
            added = {
                "window/id": uuid.uuid4().hex,
                "window/instance": self.instance,
                "window/time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
            reason = self._append(encode_row(added | values)[0])
        except Exception as error:  # noqa: BLE001  # As with an inference.
            reason = type(error).__name__
        if reason is not None:
            self._counts.count_window("dropped")

    def alert(self, title: str, text: str, level: Literal["INFO", "WARN", "ERROR"] = "WARN") -> None:
        """Have W&B tell people about a change of state, once, as soon as a run is open. Never waits and never raises.

        Args:
            title: up to 64 characters.
            text: what happened, and what to do.
            level: how bad it is.
        """
        if self._settings.inference_log and self._files is not None and not self._closed:
            writer = self._start_thread(self._files)
            if writer is not None:
                writer.trouble.alerts.append({"title": title[:64], "text": text, "level": level})

    def count_error(self, kind: str) -> None:
        """Count a request that ended without a prediction; the counts go to the run's summary. Never raises."""
        self._counts.count_error(kind)

    async def settle(self) -> bool:
        """Wait until W&B has all that was recorded so far, at most INFERENCE_LOG_WAIT_SECONDS; whether it has.

        Returns at once where that is 0, and never takes more than half of what a request may take. Use it before a
        reply after which the platform takes the CPU away.
        """
        seconds = min(self._settings.inference_log_wait_seconds, self._settings.request_timeout_seconds / 2)
        writing = self._writing
        if not seconds or writing is None:
            return False
        writer, spool = writing[0], self._spool
        wanted = spool.appended
        end = time.monotonic() + seconds
        self._waiters += 1
        writer.hurry = True
        try:
            while spool.confirmed < wanted and time.monotonic() < end:  # noqa: ASYNC110  # A thread confirms.
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._waiters -= 1
            writer.hurry = bool(self._waiters) or self._closed
        return spool.confirmed >= wanted

    def health(self) -> dict[str, Any]:
        """Return `state` (off, idle, ok, degraded, offline), `reason`, `instance`, `run`, `spool` and the counters.

        `received` is `confirmed` (W&B is known to have it), `waiting` (in the spool) and all of `dropped` together.
        `in_flight` of those that wait were given to W&B's client.
        """
        state, reason, run = self._writing[0].status() if self._writing else ("idle", None, None)
        if self._spool.trouble is not None:
            state, reason = "degraded", f"{self._spool.trouble}: rows are kept in memory"
        elif self._spool.full:
            state, reason = "degraded", "the spool is full: rows are dropped"
        if not self._settings.inference_log:
            state, reason = "off", "INFERENCE_LOG=false"
        totals = self._counts.totals()
        windows = totals["windows"]
        waiting_windows = windows["received"] - windows["confirmed"] - windows["dropped"]
        return {
            "state": state,
            "reason": reason,
            "instance": self.instance,
            "run": run,
            "waiting": self._spool.rows - waiting_windows,
            "in_flight": self._writing[0].in_flight if self._writing else 0,
            "spool": {
                "bytes": self._spool.size,
                "limit_bytes": self._settings.inference_log_spool_mb * 1_048_576,
                "in_memory": self._spool.in_memory,
            },
            **totals,
        }

    def stop(self, timeout: float) -> None:
        """Send what there is, finish the run, and leave the rest to the next start; back within `timeout` seconds."""
        if self._closed:
            return
        end = time.monotonic() + timeout
        self._closed = True
        if self._writing is not None:
            writer, thread = self._writing
            writer.close(end - min(_SPARE_SECONDS, timeout / 4))
            thread.join(max(end - time.monotonic(), 0))
            writer.abandon()
        folder = self._spool.folder
        self._counts.drop("shutdown", self._spool.close())
        left, dropped = self._spool.rows, self._counts.totals()["dropped"]
        if left:
            logger.warning(
                "{} rows are left in {}: the next start with this STATE_DIR sends them", left, folder
            )
        if lost := {reason: count for reason, count in dropped.items() if reason != "sampled"}:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lost.items()))
            logger.warning("inferences were dropped: {}", reasons)

    def _begin(self) -> None:
        self.instance = uuid.uuid4().hex[:12]
        self._counts = Counts()
        self._spool = Spool(
            self._settings.state_dir / "spool",
            self.instance,
            Destination.of(self._settings),
            limit_bytes=self._settings.inference_log_spool_mb * 1_048_576,
            memory_rows=self._settings.inference_log_queue,
        )
        self._starting = threading.Lock()
        self._writing: tuple[InferenceWriter, threading.Thread] | None = None
        self._waiters = 0

    def _append(self, line: bytes) -> str | None:
        writing = self._writing
        reason = self._spool.append(line, writing[0].adopted_bytes if writing else 0)
        assert self._files is not None
        writer = writing[0] if writing else self._start_thread(self._files)
        if writer is not None and not writer.wake.is_set():
            writer.wake.set()
        return reason

    def _start_thread(self, files: ModelFiles) -> InferenceWriter | None:
        with self._starting:
            if self._writing is None:
                writer = InferenceWriter(
                    self._settings, files, self.instance, self._spool, self._counts, self._open_run
                )
                # A daemon: Python's end does not wait for it, whatever it waits for.
                thread = threading.Thread(target=writer.run, name="inference-log", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # No more threads: the next row tries again, and this one waits.
                    logger.debug("the inference log's thread could not be started: {}", error)
                    return None
                self._writing = writer, thread
            return self._writing[0]

    def _begin_again(self) -> None:
        """Make the log of a forked process, which has no writer, an instance of its own."""
        self._spool.abandon()
        self._begin()


def _sampled(row_id: str, share: float) -> bool:
    """Whether a row is among the share that is logged; the same row always is, or is not."""
    return share >= 1 or zlib.crc32(row_id.encode("utf-8", "replace")) < share * 2**32


def _after_fork(log: "weakref.ref[InferenceLog]") -> None:
    if (found := log()) is not None:
        found._begin_again()
