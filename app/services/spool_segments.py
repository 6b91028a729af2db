"""Segments of the spool: rows in order, one JSON object a line, in an append-only file or, failing that, in memory."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 4_194_304


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two rows of a spool.

    Attributes:
        segment: the segment's number.
        offset: bytes of the segment before it.
        row: rows of the segment before it.
    """

    segment: int = 0
    offset: int = 0
    row: int = 0


class FileSegment:
    """Rows in a file. A row is there when its line end is: whatever follows the last one was torn off by a crash."""

    def __init__(self, path: Path, number: int, rows: int = 0, size: int = 0) -> None:
        """Stand for a file that holds `rows` in its first `size` bytes; nothing is opened."""
        self.path = path
        self.number = number
        self.rows = rows
        self.size = size
        self._descriptor = -1

    @classmethod
    def found(cls, path: Path, number: int) -> tuple["FileSegment", bool]:
        """Take up a file that another process left; also return whether its last row is torn.

        Raises:
            OSError: it cannot be read.
        """
        rows = size = total = 0
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                rows += block.count(b"\n")
                end = block.rfind(b"\n")
                size = total + end + 1 if end >= 0 else size
                total += len(block)
        return cls(path, number, rows, size), total > size

    def open(self) -> None:
        """Get ready for rows. Raises OSError."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def writable(self) -> bool:
        """Whether rows can be appended."""
        return self._descriptor >= 0

    def append(self, line: bytes) -> None:
        """Append a row with one write and no fsync; it outlives this process, not the machine.

        Raises:
            OSError: the disk did not take it; the file ends with the row before.
        """
        data = line + b"\n"
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.rows += 1
        self.size += len(data)

    def read(self, position: Position, most: int) -> tuple[list[bytes], Position]:
        """Return up to `most` rows from a position on, and the position after them. Raises OSError."""
        lines: list[bytes] = []
        offset, end = position.offset, min(self.size, position.offset + _READ_BYTES)
        with self.path.open("rb") as file:
            file.seek(offset)
            while len(lines) < most and offset < end:
                line = file.readline()
                if not line.endswith(b"\n"):
                    raise OSError(5, "the file is shorter than it was")
                offset += len(line)
                lines.append(line[:-1])
        return lines, Position(self.number, offset, position.row + len(lines))

    def seal(self) -> None:
        """Take no more rows."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def delete(self) -> None:
        """Delete the file."""
        self.seal()
        with contextlib.suppress(OSError):
            self.path.unlink()


class MemorySegment:
    """Rows that the disk did not take."""

    def __init__(self, number: int) -> None:
        """Make an empty segment."""
        self.number = number
        self.size = 0
        self.lines: list[bytes] = []

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.lines)

    def append(self, line: bytes) -> None:
        """Append a row."""
        self.lines.append(line)
        self.size += len(line) + 1

    def read(self, position: Position, most: int) -> tuple[list[bytes], Position]:
        """Return up to `most` rows from a position on, and the position after them."""
        lines = self.lines[position.row : position.row + most]
        offset = position.offset + sum(len(line) + 1 for line in lines)
        return lines, Position(self.number, offset, position.row + len(lines))

    def save(self, path: Path) -> FileSegment:
        """Write all rows to a file; positions in it are the same. Raises OSError, and leaves no file then."""
        segment = FileSegment(path, self.number)
        try:
            segment.open()
            for line in self.lines:
                segment.append(line)
        except OSError:
            segment.delete()
            raise
        segment.seal()
        return segment

    def seal(self) -> None:
        """Take no more rows."""

    def delete(self) -> None:
        """Forget all rows."""


Segment = FileSegment | MemorySegment
