"""One open run: rows go into it, and what W&B has of them is read back.

W&B's client says nothing about rows that never arrive, so its silence counts for nothing. The last step of the run's
history, asked of W&B itself, is the watermark; where it and the number of rows disagree, the ids are read.
"""

import itertools
import time
from collections.abc import Iterable
from pathlib import Path

from app.core.config import Settings
from app.services.inference_batch import Batch
from app.services.inference_counts import Counts
from app.services.inference_pace import HistoryPace, evenly
from app.services.inference_run import Run, RunLostError, Stored
from app.services.inference_source import Chunk, Source, is_window, readable
from app.services.spool_segments import Position

MAX_ROWS = 50_000
"""Rows of one run's history; W&B advises to stay well under 100,000."""
MAX_FILES = 500
"""Files of inferences of one run; W&B advises to stay well under 1,000."""
MAX_AGE_SECONDS = 86_400

_MOST_IN_FLIGHT = 5_000
_MOST_UPLOADS = 4
_SUMMARY_SECONDS = 30
_HURRY_SECONDS = 0.5
_PATIENCE = 10
_UPLOAD_SHARE = 0.6
_POLL_SECONDS = 0.05


class NoDiskError(Exception):
    """A file for inferences could not be opened; nothing was sent."""


class Delivery:
    """A run with the rows that it was given; all methods but `kill` may raise RunLostError.

    Attributes:
        run: the run.
        rows: rows that it was given, which are its steps.
        since: when it was opened, as of `time.monotonic`.
    """

    def __init__(
        self,
        run: Run,
        sources: list[Source],
        counts: Counts,
        pace: HistoryPace,
        settings: Settings,
        patience: float = 1.0,
    ) -> None:
        """Begin with an open run.

        Args:
            run: the run.
            sources: the spools whose rows it may be given.
            counts: where what W&B has is counted.
            pace: how many rows its history may carry; shared by all runs of a process.
            settings: the configuration.
            patience: how much longer than usual it may take until rows are seen in W&B.
        """
        self.run = run
        self.rows = 0
        self.since = time.monotonic()
        self._sources = sources
        self._counts = counts
        self._pace = pace
        self._settings = settings
        self._patience = patience * _PATIENCE * settings.inference_log_confirm_seconds
        self._batch: Batch | None = None
        self._uploads: dict[str, Batch] = {}
        self._files = 0
        self._asked = self.since
        self._moved = self.since
        self._summary: dict[str, int] = {}
        self._next_summary = self.since + _SUMMARY_SECONDS

    @property
    def online(self) -> bool:
        """Whether rows go to W&B; else they stay in the client's offline format."""
        return self.run.path is not None

    @property
    def held(self) -> bool:
        """Whether so much is not confirmed that further rows are better off in the spool."""
        flying = sum(chunk.rows for chunk in self._chunks() if chunk.batch is None)
        return self.online and (flying >= _MOST_IN_FLIGHT or len(self._uploads) >= _MOST_UPLOADS)

    @property
    def over(self) -> bool:
        """Whether the run has had enough."""
        old = time.monotonic() - self.since > MAX_AGE_SECONDS
        full = not self.online and sum(source.spool.size for source in self._sources) > self._most_offline
        return self.rows >= MAX_ROWS or self._files >= MAX_FILES or old or full

    def send(
        self, source: Source, lines: list[bytes], start: Position, end: Position, folder: Path | None
    ) -> None:
        """Send rows: one by one while history can carry them, else in a file, with a share of them in history.

        Args:
            source: where they are from.
            lines: the rows.
            start: the position before them.
            end: the position after them.
            folder: where files may be written; None for nowhere.

        Raises:
            NoDiskError: the rows are too many for history, and there is no disk for a file.
            RunLostError: the run is of no more use.
        """
        whole = lines if source.own else [line for line in lines if readable(line)]
        windows = [line for line in whole if is_window(line)]
        chunk = Chunk(start, end, len(whole) - len(windows), len(windows), len(lines) - len(whole))
        if not self.online or (self._batch is None and len(whole) <= self._pace.allowance()):
            history = whole
        else:
            history = windows
            if inferences := [line for line in whole if not is_window(line)]:
                chunk.batch = self._add_to_batch(inferences, folder)
                share = self._pace.share(len(inferences))
                history = windows + [
                    _marked(line, share / len(inferences)) for line in evenly(inferences, share)
                ]
        needed = len(history) if chunk.batch is None else len(windows)
        if needed:
            chunk.first_step, chunk.last_step = self.rows, self.rows + needed - 1
        source.send(chunk)
        self._pace.spend(len(history))
        if history:
            self.run.write(history)
            self.rows += len(history)

    def tend(self, alerts: "Iterable[dict[str, str]]", *, hurry: bool) -> str | None:
        """Do what is due; return why the run should be ended, None if it should not.

        Args:
            alerts: what W&B is to tell people.
            hurry: whether somebody waits for rows to be confirmed.
        """
        if self.run.stopped():
            return "W&B ended the run: it was stopped there, or its rows were refused"
        for alert in alerts:
            self.run.alert(**alert)
        self._collect_uploads()
        now = time.monotonic()
        if self._batch and (
            self._batch.full or now - self._batch.since >= self._settings.inference_log_batch_seconds
        ):
            self._close_batch()
        flying = any(chunk.last_step is not None for chunk in self._chunks())
        stuck = any(now - batch.since > self._patience for batch in self._uploads.values())
        if not flying:
            self._moved = now
        seconds = self._settings.inference_log_confirm_seconds
        due = now - self._asked >= (min(seconds, _HURRY_SECONDS) if hurry else seconds)
        if self.online and due and (flying or stuck) and (found := self.confirm()):
            if stuck:
                return "W&B does not commit a file of inferences"
            if time.monotonic() - self._moved > self._patience:
                return f"W&B does not show the run's rows (it has {found.lines} of {self.rows})"
        if now >= self._next_summary:
            self._next_summary = now + _SUMMARY_SECONDS
            self._summarize()
        return None

    def confirm(self) -> Stored | None:
        """Ask W&B what it has, and give that up; return its answer, None if there was none."""
        assert self.run.path is not None
        found = self.run.stored(self.run.path)
        self._asked = time.monotonic()
        if found is not None and found.lines <= found.last:
            found = Stored(found.last, found.lines, self.run.scan(self.run.path, self._first_step()))
        if found is not None:
            self.apply(found)
        return found

    def apply(self, found: Stored) -> None:
        """Give up the rows that W&B has."""
        for source in self._sources:
            for chunk in source.flight:
                if chunk.last_step is not None and not chunk.stored:
                    seen = chunk.last_step <= found.last
                    if found.lines <= found.last or found.ids is not None:
                        # The watermark has gaps below it, or is behind: only the ids tell.
                        seen = found.ids is not None and not _missing(source, chunk, found.ids)
                    chunk.stored = seen
        self._settle()

    def close(self, seconds: float) -> bool:
        """Send what is open, finish the run within `seconds`, and return whether W&B has all of it."""
        end = time.monotonic() + seconds
        self._close_batch()
        uploads_end = time.monotonic() + _UPLOAD_SHARE * seconds
        while self._uploads and time.monotonic() < uploads_end:
            self._collect_uploads()
            time.sleep(_POLL_SECONDS if self._uploads else 0)
        self._summarize()
        found = self.run.finish(max(end - time.monotonic(), 0), self._first_step(), self.rows - 1)
        if found is not None:
            self.apply(found)
        return not any(self._chunks())

    def kill(self) -> None:
        """End the client at once; what was not confirmed is still in the spools."""
        self.run.kill()
        self._drop_files()

    def _chunks(self) -> Iterable[Chunk]:
        return itertools.chain.from_iterable(source.flight for source in self._sources)

    def _first_step(self) -> int:
        steps = (chunk.first_step for chunk in self._chunks() if not chunk.stored)
        return min((step for step in steps if step is not None), default=self.rows)

    @property
    def _most_offline(self) -> int:
        return self._settings.inference_log_spool_mb * 1_048_576 // 2

    def _settle(self) -> None:
        for source in self._sources:
            inferences, windows, lost = source.settle()
            if inferences or windows:
                self._moved = time.monotonic()
            if source.own:
                self._counts.confirm(inferences)
                self._counts.count_window("confirmed", windows)
                self._counts.drop("spool-lost", lost)
            else:
                self._counts.count_recovered("confirmed", inferences + windows)
                self._counts.count_recovered("dropped", lost)

    def _add_to_batch(self, rows: list[bytes], folder: Path | None) -> str:
        try:
            if self._batch is None:
                if folder is None:
                    raise NoDiskError
                self._files += 1
                self._batch = Batch(folder, f"inferences-{self._files:04}.jsonl.gz")
            self._batch.add(rows)
        except OSError as error:
            batch, self._batch = self._batch, None
            if batch is None or not batch.rows:
                if batch is not None:
                    batch.delete()
                raise NoDiskError from error
            batch.delete()
            raise RunLostError(f"a file of inferences could not be written: {error}") from error
        return self._batch.name

    def _close_batch(self) -> None:
        if self._batch is None:
            return
        batch, self._batch = self._batch, None
        self._uploads[batch.name] = batch
        try:
            batch.close()
        except OSError as error:
            raise RunLostError(f"a file of inferences could not be written: {error}") from error
        self.run.log_batch(batch.path, batch.rows)

    def _collect_uploads(self) -> None:
        for name, error in self.run.outcomes().items():
            if error is not None:
                raise RunLostError(f"W&B did not take a file of inferences: {error}")
            self._uploads.pop(name).delete()
            for chunk in self._chunks():
                chunk.uploaded = chunk.uploaded or chunk.batch == name
            self._settle()

    def _drop_files(self) -> None:
        for batch in [*self._uploads.values(), *([self._batch] if self._batch else [])]:
            batch.delete()
        self._uploads.clear()
        self._batch = None

    def _summarize(self) -> None:
        totals = self._counts.flat()
        if totals != self._summary:
            self.run.summarize(totals)
            self._summary = totals


def _missing(source: Source, chunk: Chunk, found: frozenset[str]) -> bool:
    try:
        return source.missing(chunk, found)
    except OSError:
        return True


def _marked(line: bytes, share: float) -> bytes:
    """Add the share of its neighbours that history carries to a row."""
    return b'%s,"history_share":%.4g}' % (line[:-1], share)
