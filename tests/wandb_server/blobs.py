"""Bytes by key: what clients upload and download, one file each."""

import shutil
import uuid
from pathlib import Path


class Blobs:
    """A folder of files named by random keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def new_key() -> str:
        """A key that nothing is stored under yet."""
        return uuid.uuid4().hex

    def path(self, key: str) -> Path:
        """Where a key's bytes are, or would be. Raises ValueError for a key this class did not make."""
        if not key or not key.isalnum():
            raise ValueError(f"not a blob key: {key!r}")
        return self._folder / key

    def write(self, key: str, content: bytes) -> None:
        """Store bytes, replacing what was there; a reader never sees half of them."""
        target = self.path(key)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)

    def read(self, key: str) -> bytes:
        """The bytes of a key. Raises FileNotFoundError."""
        return self.path(key).read_bytes()

    def exists(self, key: str | None) -> bool:
        """Whether anything was stored under the key."""
        return bool(key) and self.path(str(key)).is_file()

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
