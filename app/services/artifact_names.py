"""Which names a model's files may have: those that stay in its folder and mean one file on every system."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

MOST_FILES = 10_000
_MOST_BYTES = 255
"""What the usual file systems allow for one part of a path."""
_FORBIDDEN = set('\\:*?"<>|')
"""Separators and drive letters of Windows, and what its file systems refuse."""
_DEVICES = {
    "aux",
    "con",
    "nul",
    "prn",
    *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10)),
}


def problem_of(names: Iterable[str]) -> str | None:
    """Return what is wrong with the first of an artifact's file names that will not do; None if all will.

    The names are those of a manifest: relative, with ``/`` between their parts.
    """
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for number, name in enumerate(names, start=1):
        if number > MOST_FILES:
            return f"holds more than {MOST_FILES} files: pack them, or log only what the model needs"
        if reason := _problem(name):
            return f"has a file named {name[:100]!r}, {reason}: log it under a plain name"
        same = _folded(name)
        if same in seen:
            return f"has the files {seen[same]!r} and {name!r}, which are one on some systems: rename one of them"
        seen[same] = name
        folders.update(map(str, PurePosixPath(same).parents))
    if both := sorted(seen.keys() & folders):
        return f"has {seen[both[0]]!r} as a file and as a folder: rename one of them"
    return None


def _problem(name: str) -> str | None:
    pure = PurePosixPath(name)
    if str(pure) != name or pure.is_absolute() or not pure.parts or ".." in pure.parts or "\\" in name:
        return "which leaves the model's folder"
    if not name.isprintable() or set(name) & _FORBIDDEN:
        return "which holds a character that is not for file names"
    if any(part[-1] in ". " or part.partition(".")[0].lower() in _DEVICES for part in pure.parts):
        return "which is no file's name on some systems"
    if any(len(part.encode()) > _MOST_BYTES for part in pure.parts):
        return f"a part of which is longer than {_MOST_BYTES} bytes"
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
