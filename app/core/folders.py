"""Folders that the service writes to: checked before use, and temporary ones that leave nothing behind."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.core.errors import StorageError

_SCRATCH_SUFFIX = ".partial"


def ensure_writable(folder: Path, variable: str, *, private: bool = False) -> None:
    """Make `folder` if it is missing, and try to write there.

    Args:
        folder: the folder.
        variable: the setting that names it, for the message.
        private: make it for this user alone. A folder that is there already keeps its mode.

    Raises:
        StorageError: it cannot be made or written to.
    """
    try:
        folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise StorageError(
            f"{variable}: {folder} cannot be written ({error.strerror or error}): "
            f"make it writable for this user, or set {variable} to a folder that is"
        ) from error


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give a new folder in `parent` that is gone afterwards; first sweep away what ended processes left there.

    Raises:
        OSError: `parent` cannot be written.
    """
    _sweep(parent)
    folder, lock = _locked_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` against other processes that ask for it; where there are no locks (some network file
    systems), hold nothing.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=_SCRATCH_SUFFIX, dir=parent))
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # Another process swept it away before it was locked.
            continue
        # It may also have been swept away just now; names are never given twice, so that can be seen.
        if _try_lock(lock) is not False and folder.exists():
            return folder, lock
        os.close(lock)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f".*{_SCRATCH_SUFFIX}"):
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                if _try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _try_lock(descriptor: int) -> bool | None:
    """Return whether the lock was free; None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
