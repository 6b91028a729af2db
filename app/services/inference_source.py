"""A spool as the writer sees it: what was sent and waits to be confirmed, and what comes next."""

import json
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from loguru import logger

from app.core.config import Settings
from app.services import spool_folder
from app.services.inference_counts import Counts
from app.services.spool import Spool
from app.services.spool_folder import Destination
from app.services.spool_segments import Position

WINDOW_PREFIX = b'{"window/'
"""How the rows of windows begin; every other row is an inference."""


@dataclass(slots=True)
class Chunk:
    """Rows that were handed to W&B's client together.

    Attributes:
        start: the position before them.
        end: the position after them.
        inferences: how many rows of inferences there are.
        windows: how many rows of windows there are.
        lost: how many rows could not be read.
        first_step: step of the first of them in the run's history; None where history need not have them.
        last_step: step of the last of them.
        batch: name of the batch file that holds the inferences; None where history does.
        uploaded: whether W&B has committed that file.
        stored: whether W&B has the rows that history holds.
    """

    start: Position
    end: Position
    inferences: int
    windows: int
    lost: int = 0
    first_step: int | None = None
    last_step: int | None = None
    batch: str | None = None
    uploaded: bool = False
    stored: bool = False

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.inferences + self.windows + self.lost

    @property
    def done(self) -> bool:
        """Whether W&B has all of them."""
        return (self.uploaded or self.batch is None) and (self.stored or self.last_step is None)


class Source:
    """One spool with a place in it, and the chunks before that place that are not confirmed."""

    def __init__(self, spool: Spool, *, own: bool) -> None:
        """Begin where the spool begins; `own` tells this process's rows from those of an ended one."""
        self.spool = spool
        self.own = own
        self.flight: deque[Chunk] = deque()
        self.taken = 0
        self._place = spool.start

    @property
    def waiting(self) -> int:
        """Rows that were not sent."""
        return self.spool.appended - self.taken

    def peek(self, most: int) -> tuple[list[bytes], Position, Position]:
        """Return the next rows with the positions before and after them. Raises OSError."""
        lines, end = self.spool.read(self._place, most)
        return lines, self._place, end

    def send(self, chunk: Chunk) -> None:
        """Note that the next rows were sent as a chunk."""
        self.flight.append(chunk)
        self.taken += chunk.rows
        self._place = chunk.end

    def rewind(self) -> None:
        """Send again what is not confirmed."""
        if self.flight:
            self._place = self.flight[0].start
            self.taken -= sum(chunk.rows for chunk in self.flight)
            self.flight.clear()

    def skip(self) -> int:
        """Leave rows out that cannot be read any more; return how many."""
        end, rows = self.spool.skip(self._place)
        self.send(Chunk(self._place, end, 0, 0, lost=rows))
        return rows

    def settle(self) -> tuple[int, int, int]:
        """Give up the rows that W&B has, from the front; return how many inferences, windows and lost rows."""
        inferences = windows = lost = 0
        end: Position | None = None
        while self.flight and self.flight[0].done:
            chunk = self.flight.popleft()
            inferences += chunk.inferences
            windows += chunk.windows
            lost += chunk.lost
            end = chunk.end
        if end is not None:
            self.spool.confirm(end)
        return inferences, windows, lost

    def missing(self, chunk: Chunk, found: frozenset[str]) -> bool:
        """Whether a row of a chunk that history should have is not among the ids found. Raises OSError."""
        lines, _ = self.spool.read(chunk.start, chunk.rows)
        wanted = (line for line in lines if chunk.batch is None or is_window(line))
        return any(row_id(line) not in found for line in wanted if readable(line))


def adopted_sources(settings: Settings, counts: Counts) -> Iterator[Source]:
    """Take up what ended processes left for the same project, and count it as found."""
    parent, destination = settings.state_dir / "spool", Destination.of(settings)
    try:
        for folder in spool_folder.adopt(parent, destination):
            spool = Spool.adopted(folder, destination)
            if (client := folder.load_client()) is not None:
                shutil.rmtree(client, ignore_errors=True)
            if spool.torn:
                counts.count_recovered("found", 1)
                counts.count_recovered("dropped", 1)
            if not spool.rows:
                spool.close()
                continue
            counts.count_recovered("found", spool.rows)
            logger.info("{} rows that an ended process left in {} are sent", spool.rows, folder.path)
            yield Source(spool, own=False)
    except OSError as error:
        logger.warning("what ended processes left in {} cannot be read: {}", parent, error)


def is_window(line: bytes) -> bool:
    """Whether a row is about a window and not an inference."""
    return line.startswith(WINDOW_PREFIX)


def readable(line: bytes) -> bool:
    """Whether a row is whole; one that a crash of the machine left may not be."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def row_id(line: bytes) -> str:
    """Return the id that tells a row from all others."""
    row = json.loads(line)
    return str(row.get("window/id" if is_window(line) else "id"))
