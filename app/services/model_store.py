"""Pulled models on disk: `LOCAL_MODEL_DIR/NAME/VERSION/` and a record of each beside it, `VERSION.json`."""

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.errors import DigestMismatchError
from app.core.folders import locked, scratch_folder
from app.services.artifact import file_digest

_KEPT_SECONDS = 3600
"""No version is pruned within this time of its last start: another process may be about to load it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a version on disk.

    Attributes:
        artifact: its full name with version, such as ``acme/reviews/sentiment:v7``.
        reference: what the configuration asked for, without the alias, and of which server; a copy serves
            only the configuration that pulled it.
        version: ``v7``.
        digest: W&B's artifact digest.
        files: name to `file_digest`, of all files.
    """

    artifact: str
    reference: str
    version: str
    digest: str
    files: dict[str, str]


def verify_files(folder: Path, expected: Mapping[str, str | None]) -> dict[str, str]:
    """Compare a folder with what it must hold, file by file, and return the files' digests.

    Args:
        folder: the folder.
        expected: name to `file_digest`; None where the file is known to be right but not its MD5.

    Raises:
        DigestMismatchError: a file is missing, is one too many, is no plain file or has other bytes.
        OSError: a file cannot be read.
    """
    found = _plain_files(folder)
    if missing := sorted(expected.keys() - found.keys()):
        raise DigestMismatchError(f"{missing[0]} is missing")
    if extra := sorted(found.keys() - expected.keys()):
        raise DigestMismatchError(f"{extra[0]} does not belong to the artifact")
    digests = {}
    for name, path in sorted(found.items()):
        digests[name] = file_digest(path)
        if expected[name] not in (None, digests[name]):
            raise DigestMismatchError(
                f"{name} has the digest {digests[name]} ({path.stat().st_size} bytes), not {expected[name]}"
            )
    return digests


def _plain_files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            inner = path.relative_to(folder).as_posix()
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
                raise DigestMismatchError(f"{inner} is a link or no plain file")
            if stat.S_ISREG(status.st_mode):
                if status.st_nlink > 1:  # Whoever has the other name could change what was verified.
                    raise DigestMismatchError(f"{inner} is a hard link: the file has another name, too")
                found[inner] = path
    return found


class ModelStore:
    """The versions of one model. Several processes may use the same folder at once."""

    def __init__(self, folder: Path, reference: str) -> None:
        """Take `LOCAL_MODEL_DIR/NAME`, which need not exist yet, and see only copies of `reference`."""
        self.folder = folder
        self.reference = reference

    def path(self, version: str) -> Path:
        """Return where a version lies, or would lie."""
        return self.folder / version

    def digests(self) -> dict[str, str]:
        """Return version to W&B's digest of what is on disk, as recorded; the files are not looked at."""
        records = (self._read(path.stem) for path in self.folder.glob("v*.json"))
        return {record.version: record.digest for record in records if record}

    def verified(self, version: str) -> Record | None:
        """Return the record of a version whose files are all there and right; None otherwise."""
        record = self._read(version)
        if record is None or self.path(version).is_symlink():
            return None
        try:
            verify_files(self.path(version), record.files)
        except (DigestMismatchError, OSError):
            return None
        with contextlib.suppress(OSError):  # A folder that is read-only, such as a baked image's, is fine.
            os.utime(self._record_path(version))
        return record

    def place(self, files: Path, record: Record) -> None:
        """Move a verified folder to its place by one rename, over a copy that is damaged or of another artifact.

        Where another process has placed the same version meanwhile, that one stays.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        with scratch_folder(self.folder) as scratch, locked(self.folder):
            target = self.path(record.version)
            if self.verified(record.version) == record:
                return
            if target.exists() or target.is_symlink():
                target.rename(scratch / "replaced")
            files.rename(target)
            note = scratch / "record"
            note.write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
            note.replace(self._record_path(record.version))

    def prune(self, current: str) -> list[str]:
        """Delete all versions but the current one and the one that was started before it; return which."""
        with locked(self.folder):
            used = {}
            for path in self.folder.glob("v*.json"):
                if path.stem != current:
                    with contextlib.suppress(OSError):
                        used[path.stem] = path.stat().st_mtime
            old = sorted(used, key=lambda name: used[name], reverse=True)[1:]
            gone = [version for version in old if time.time() - used[version] > _KEPT_SECONDS]
            for version in gone:
                self._delete(version)
        return gone

    def discard(self, version: str, obtained_at: float) -> bool:
        """Delete a version, unless it was started again after `obtained_at` (UNIX time); return whether it was deleted.

        The one who obtained it then says that it is not needed any more.
        """
        with locked(self.folder):
            try:
                if self._record_path(version).stat().st_mtime > obtained_at:
                    return False
            except FileNotFoundError:
                return False
            self._delete(version)
        return True

    def _delete(self, version: str) -> None:
        with contextlib.suppress(OSError):
            self._record_path(version).unlink()
        shutil.rmtree(self.path(version), ignore_errors=True)

    def _record_path(self, version: str) -> Path:
        return self.folder / f"{version}.json"

    def _read(self, version: str) -> Record | None:
        try:
            record = Record(**json.loads(self._record_path(version).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return record if (record.reference, record.version) == (self.reference, version) else None
