"""Folders to write to."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.core.errors import StorageError
from app.core.folders import ensure_writable, locked, scratch_folder

ROOT = Path(__file__).resolve().parents[3]


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "a" / "b", "STATE_DIR")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^STATE_DIR: .*/file/a cannot be written \(Not a directory\): "):
        ensure_writable(tmp_path / "file" / "a", "STATE_DIR")


def test_a_scratch_folder_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        (first / "file").touch()
        assert first != second
        assert (first / "file").exists(), "the second start does not sweep away what is in use"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from app.core.folders import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder: (folder / 'f').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    with scratch_folder(tmp_path):
        assert not left.exists()


def test_a_locked_folder_makes_others_wait(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from app.core.folders import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('in')"
    )
    with locked(tmp_path):
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with pytest.raises(subprocess.TimeoutExpired):
            other.communicate(timeout=0.5)
    assert other.communicate(timeout=60)[0] == b"in\n"


def test_a_private_folder_is_for_this_user_alone(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "state", "STATE_DIR", private=True)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    ensure_writable(tmp_path / "models", "LOCAL_MODEL_DIR")
    assert (tmp_path / "models").stat().st_mode & 0o050 == 0o050
