"""The spool of the inference log: rows that W&B is not yet known to have, on disk, in the order of their recording.

Appending is one write of a few microseconds to the end of a file, without fsync: the row is with the operating system
and outlives a kill of this process. A database was measured too (see docs/inference-log.md): its commit takes ten
times as long, and its checkpoints stall whoever commits.
"""

import threading
import time
from pathlib import Path

from app.services.spool_folder import Destination, SpoolFolder
from app.services.spool_segments import FileSegment, MemorySegment, Position, Segment

_SEGMENT_BYTES = 8_388_608
_SLOW_SECONDS = 0.1
_TWICE_SECONDS = 10.0
"""A busy processor may hold one write up; the disk is slow when two in so many seconds were."""
_RETRY_SECONDS = 5.0
_MOST_ROW_BYTES = 5_000_000
"""W&B's client drops rows of more than 10,383,360 bytes in silence."""


class Spool:
    """Rows in segments. One thread appends, another reads and confirms; the lock is held for microseconds.

    Attributes:
        appended: rows that were taken, from the start.
        confirmed: rows of these that were given up again by `confirm` or `skip`.
        trouble: why rows are kept in memory only; None while the disk takes them.
        full: whether the last row was refused for want of room.
        torn: whether the last row that a crashed process left was incomplete; it is not there any more.
    """

    def __init__(
        self, parent: Path, name: str, destination: Destination, *, limit_bytes: int, memory_rows: int
    ) -> None:
        """Make an empty spool; if the disk does not take it, rows are kept in memory until it does.

        Args:
            parent: the folder of all spools.
            name: this one's.
            destination: where the rows are to go.
            limit_bytes: size past which rows are refused.
            memory_rows: rows that may be kept in memory.
        """
        self._place = parent, name, destination
        self._limit = limit_bytes
        self._memory_limit = memory_rows
        self._lock = threading.Lock()
        self._folder: SpoolFolder | None = None
        self._segments: list[Segment] = []
        self._number = 0
        self._start = Position()
        self._retry_at = 0.0
        self._slow_at = float("-inf")
        self._closed = False
        self.appended = 0
        self.confirmed = 0
        self.trouble: str | None = None
        self.full = False
        self.torn = False

    @classmethod
    def adopted(cls, folder: SpoolFolder, destination: Destination) -> "Spool":
        """Take up what an ended process left. Raises OSError if it cannot be read."""
        spool = cls(folder.path.parent, folder.path.name, destination, limit_bytes=0, memory_rows=0)
        spool._folder = folder
        spool._start = folder.load_confirmed()
        for number, path in folder.segments():
            segment, torn = FileSegment.found(path, number)
            spool._segments.append(segment)
            spool.torn = spool.torn or torn
            spool._number = number
        first = spool._segments[0].number if spool._segments else 0
        if spool._start.segment != first:
            spool._start = Position(first)
        spool.appended = sum(segment.rows for segment in spool._segments) - spool._start.row
        return spool

    @property
    def start(self) -> Position:
        """The position before which everything is confirmed."""
        return self._start

    @property
    def rows(self) -> int:
        """Rows that are not confirmed."""
        return self.appended - self.confirmed

    @property
    def size(self) -> int:
        """Bytes of the rows, of those in memory too: they are on disk when it takes them again."""
        return sum(segment.size for segment in list(self._segments))

    @property
    def in_memory(self) -> int:
        """Rows that are not on disk."""
        return sum(segment.rows for segment in list(self._segments) if isinstance(segment, MemorySegment))

    @property
    def folder(self) -> Path | None:
        """Where the rows lie; None where the disk has not taken any."""
        return self._folder.path if self._folder else None

    def append(self, line: bytes, others: int = 0) -> str | None:
        """Take a row; return None, or why it was dropped. Never raises.

        Args:
            line: one JSON object without a line end.
            others: bytes of other spools that count towards this one's limit.
        """
        if len(line) > _MOST_ROW_BYTES:
            return "too-large"
        with self._lock:
            if self._closed:
                return "stopped"
            self.full = self.size + others + len(line) > self._limit
            if self.full:
                return "spool-full"
            if time.monotonic() < self._retry_at or not self._append_to_file(line):
                if self.in_memory >= self._memory_limit:
                    return "queue-full"
                self._append_to_memory(line)
            self.appended += 1
            return None

    def read(self, position: Position, most: int) -> tuple[list[bytes], Position]:
        """Return up to `most` rows of one segment from a position on, and the position after them.

        Raises:
            OSError: the segment cannot be read any more; see `skip`.
        """
        segment = self._after(position)
        if segment is None:
            return [], position
        return segment.read(
            position if segment.number == position.segment else Position(segment.number), most
        )

    def confirm(self, position: Position) -> None:
        """Give up all rows before a position, and delete the files that hold nothing else."""
        gone: list[Segment] = []
        with self._lock:
            for segment in list(self._segments):
                if segment.number > position.segment:
                    break
                before = self._start.row if segment.number == self._start.segment else 0
                after = position.row if segment.number == position.segment else segment.rows
                self.confirmed += max(after - before, 0)
                if after >= segment.rows:
                    segment.seal()
                    self._segments.remove(segment)
                    gone.append(segment)
            self._start = position
        for segment in gone:
            segment.delete()
        if self._folder is not None:
            self._folder.save_confirmed(position)

    def skip(self, position: Position) -> tuple[Position, int]:
        """Give up the rest of a segment that cannot be read; return the position after it and how many rows it had."""
        segment = self._after(position)
        if segment is None:
            return position, 0
        with self._lock:
            segment.seal()
            row = position.row if segment.number == position.segment else 0
            return Position(segment.number, segment.size, segment.rows), segment.rows - row

    def note_client(self, folder: Path) -> None:
        """Remember where W&B's client keeps what it sends; of use only until this process ends."""
        if self._folder is not None:
            self._folder.save_client(folder)

    def save_memory(self) -> None:
        """Move rows from memory to the disk if that takes them again. Not for the thread that appends."""
        with self._lock:
            if self.trouble is not None and not self._closed:
                return
            waiting = [found for found in self._segments if isinstance(found, MemorySegment)]
            if waiting and waiting[-1] is self._segments[-1] and not self._closed:
                waiting.pop()  # It may still be appended to.
        for segment in waiting:
            try:
                self._folder = self._folder or SpoolFolder.make(*self._place)
                saved = segment.save(self._folder.segment_path(segment.number))
            except OSError:
                return
            with self._lock:
                if segment in self._segments:
                    self._segments[self._segments.index(segment)] = saved

    def close(self) -> int:
        """Take no more rows, and leave what is here to the next process; return how many rows were in memory only."""
        with self._lock:
            self._closed = True
        self.save_memory()
        with self._lock:
            for segment in self._segments:
                segment.seal()
            lost = sum(
                segment.rows - (self._start.row if segment.number == self._start.segment else 0)
                for segment in self._segments
                if isinstance(segment, MemorySegment)
            )
            kept = self.rows - lost
            self.confirmed += lost
            self._segments = [found for found in self._segments if isinstance(found, FileSegment)]
            folder, self._folder = self._folder, None
        if folder is not None:
            folder.release(delete=not kept)
        return lost

    def abandon(self) -> None:
        """Let go of the descriptors in a forked process; the rows are the parent's."""
        for segment in self._segments:
            segment.seal()
        if self._folder is not None:
            self._folder.release(delete=False)

    def _after(self, position: Position) -> Segment | None:
        with self._lock:
            for segment in self._segments:
                passed = position.row if segment.number == position.segment else 0
                if segment.number >= position.segment and segment.rows > passed:
                    return segment
        return None

    def _append_to_file(self, line: bytes) -> bool:
        begun = time.monotonic()
        segment: FileSegment | None = None
        try:
            segment = self._open_segment()
            segment.append(line)
        except OSError as error:
            if segment is not None:
                segment.seal()
                if not segment.rows:
                    self._segments.remove(segment)
                    segment.delete()
            elif self._folder is not None and not self._folder.path.exists():
                # Somebody deleted it under our hands.
                self._folder.release(delete=False)
                self._folder = None
            self._retry_at = begun + _RETRY_SECONDS
            self.trouble = f"the disk does not take rows ({error.strerror or error})"
            return False
        self.trouble = None
        now = time.monotonic()
        if now - begun > _SLOW_SECONDS:
            if begun - self._slow_at < _TWICE_SECONDS:
                # This row is there, but the next ones must not wait like it.
                segment.seal()
                self._retry_at = now + _RETRY_SECONDS
                self.trouble = "the disk is slow"
            self._slow_at = now
        return True

    def _open_segment(self) -> FileSegment:
        last = self._segments[-1] if self._segments else None
        if isinstance(last, FileSegment) and last.writable:
            if last.size < _SEGMENT_BYTES:
                return last
            last.seal()
        if self._folder is None:
            self._folder = SpoolFolder.make(*self._place)
        segment = FileSegment(self._folder.segment_path(self._number + 1), self._number + 1)
        segment.open()
        self._number += 1
        self._segments.append(segment)
        return segment

    def _append_to_memory(self, line: bytes) -> None:
        last = self._segments[-1] if self._segments else None
        if not isinstance(last, MemorySegment):
            self._number += 1
            last = MemorySegment(self._number)
            self._segments.append(last)
        last.append(line)
