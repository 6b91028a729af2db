"""Folders of spools: one a process, locked while it lives; what an ended process left is taken up by the next one."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.config import Settings
from app.services.spool_segments import Position

_IDENTITY = "spool.json"
_CONFIRMED = "confirmed.json"
_CLIENT = "client.txt"
_SEGMENT = re.compile(r"rows-(\d{8})\.jsonl")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the rows of a spool go; a process takes up only spools with its own."""

    project: str
    entity: str | None
    base_url: str | None

    @classmethod
    def of(cls, settings: Settings) -> "Destination":
        """Return the destination that the settings name."""
        return cls(settings.inference_project or "marquee", settings.wandb_entity, settings.wandb_base_url)


class SpoolFolder:
    """A folder that this process holds the lock of."""

    def __init__(self, path: Path, lock: int) -> None:
        """Stand for a folder that is locked by the descriptor `lock`."""
        self.path = path
        self._lock = lock

    @classmethod
    def make(cls, parent: Path, name: str, destination: Destination) -> "SpoolFolder":
        """Make a folder, with nobody able to take it before it is locked.

        Raises:
            OSError: it cannot be made.
        """
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
        lock = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # Some network file systems have no locks.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (made / _IDENTITY).write_text(json.dumps(asdict(destination)), "utf-8")
            path = made.rename(parent / name)
        except OSError:
            os.close(lock)
            shutil.rmtree(made, ignore_errors=True)
            raise
        return cls(path, lock)

    def segment_path(self, number: int) -> Path:
        """Return where a segment lies."""
        return self.path / f"rows-{number:08}.jsonl"

    def segments(self) -> list[tuple[int, Path]]:
        """Return the segments that lie here, in order."""
        found = [(match[1], path) for path in self.path.iterdir() if (match := _SEGMENT.fullmatch(path.name))]
        return sorted((int(number), path) for number, path in found)

    def load_confirmed(self) -> Position:
        """Return the position before which W&B has every row; the start where none was saved."""
        try:
            return Position(**json.loads((self.path / _CONFIRMED).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return Position()

    def save_confirmed(self, position: Position) -> None:
        """Save a position. Where the disk does not take it, some rows are sent twice, and their ids tell."""
        partial = self.path / f"{_CONFIRMED}.partial"
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(asdict(position)), "utf-8")
            partial.replace(self.path / _CONFIRMED)

    def save_client(self, folder: Path) -> None:
        """Remember where W&B's client keeps what it sends, for whoever takes this folder up to delete."""
        with contextlib.suppress(OSError):
            (self.path / _CLIENT).write_text(str(folder.resolve()), "utf-8")

    def load_client(self) -> Path | None:
        """Return where the client of the process that made this folder kept what it sent, if that is known."""
        try:
            return Path((self.path / _CLIENT).read_text("utf-8"))
        except OSError:
            return None

    def release(self, *, delete: bool) -> None:
        """Give the folder to whoever comes next, or delete it."""
        if delete:
            shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def leftovers(parent: Path) -> bool:
    """Whether there are folders that may have been left by ended processes."""
    try:
        return any(not path.name.startswith(".") for path in parent.iterdir())
    except OSError:
        return False


def adopt(parent: Path, destination: Destination) -> Iterator[SpoolFolder]:
    """Lock and yield the folders that no process holds and whose rows have the same destination."""
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
            try:
                # Where there are no locks, nobody can tell whether the folder is in use.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.name.startswith("."):  # Its maker ended before it was given its name.
                    shutil.rmtree(path, ignore_errors=True)
                    raise FileNotFoundError
                left = Destination(**json.loads((path / _IDENTITY).read_text("utf-8")))
            except (OSError, ValueError, TypeError):
                os.close(lock)
                continue
            if left == destination:
                yield SpoolFolder(path, lock)
            else:
                os.close(lock)
