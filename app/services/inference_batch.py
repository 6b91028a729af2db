"""Files of many inferences, for when history cannot carry them all: gzip-compressed JSON lines.

Parquet would be a third of the size, but its library is larger than the rest of the server.
"""

import contextlib
import gzip
import time
from pathlib import Path

_LEVEL = 6
MOST_BYTES = 16_777_216
"""Size of the rows in one file, before compression."""


class Batch:
    """A file that rows are added to until it is closed.

    Attributes:
        path: where it lies.
        name: its name in W&B.
        rows: how many it holds.
        since: when it was opened, after `close` when it was closed, as of `time.monotonic`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Open a new file. Raises OSError."""
        self.name = name
        self.path = folder / name
        self.rows = 0
        self.since = time.monotonic()
        self._bytes = 0
        self._file = gzip.open(self.path, "wb", compresslevel=_LEVEL)  # noqa: SIM115  # Open over many calls.

    @property
    def full(self) -> bool:
        """Whether it is large enough."""
        return self._bytes >= MOST_BYTES

    def add(self, rows: list[bytes]) -> None:
        """Add rows, each one JSON object. Raises OSError."""
        data = b"".join(row + b"\n" for row in rows)
        self._file.write(data)
        self.rows += len(rows)
        self._bytes += len(data)

    def close(self) -> None:
        """Finish the file. Raises OSError."""
        self._file.close()
        self.since = time.monotonic()

    def delete(self) -> None:
        """Delete the file, finished or not."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
