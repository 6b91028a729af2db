"""The spool: rows in order on disk, in memory where there is no disk, and nothing lost or given up by mistake."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.services import spool as spool_module
from app.services import spool_folder
from app.services.spool import Spool
from app.services.spool_folder import Destination
from app.services.spool_segments import FileSegment, Position

ROOT = Path(__file__).resolve().parents[3]
HERE = Destination("reviews", "acme", None)


@pytest.fixture
def make_spool(tmp_path: Path) -> Callable[..., Spool]:
    def make(name: str = "one", **changes: Any) -> Spool:
        values: dict[str, Any] = {"limit_bytes": 1_000_000, "memory_rows": 100} | changes
        return Spool(tmp_path / "spool", name, HERE, **values)

    return make


def row(number: int) -> bytes:
    return b'{"id":"row-%d"}' % number


def rows(numbers: range) -> list[bytes]:
    return [row(number) for number in numbers]


def append(spool: Spool, numbers: range) -> None:
    for number in numbers:
        assert spool.append(row(number)) is None


def read_all(spool: Spool, start: Position | None = None) -> tuple[list[bytes], Position]:
    found: list[bytes] = []
    position = start or spool.start
    while True:
        lines, position = spool.read(position, 7)
        if not lines:
            return found, position
        found += lines


def adopt(tmp_path: Path, destination: Destination = HERE) -> list[Spool]:
    return [
        Spool.adopted(folder, destination) for folder in spool_folder.adopt(tmp_path / "spool", destination)
    ]


def refuse(segment: FileSegment, line: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_rows_come_back_in_order_over_many_files(
    make_spool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 200)
    spool = make_spool()
    append(spool, range(100))
    assert len(list(tmp_path.glob("spool/one/rows-*.jsonl"))) > 5
    assert read_all(spool)[0] == rows(range(100))
    assert spool.rows == 100
    spool.close()


def test_what_is_confirmed_leaves_the_disk(
    make_spool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 200)
    spool = make_spool()
    append(spool, range(50))
    _, half = spool.read(spool.start, 5)
    spool.confirm(half)
    assert spool.rows == 45
    _, end = read_all(spool)
    spool.confirm(end)
    assert (spool.rows, spool.size) == (0, 0)
    assert list(tmp_path.glob("spool/one/rows-*.jsonl")) == []
    append(spool, range(50, 60))
    assert read_all(spool, end)[0] == rows(range(50, 60))
    spool.confirm(read_all(spool, end)[1])
    assert spool.close() == 0
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_next_process_goes_on_after_what_was_confirmed(make_spool: Any, tmp_path: Path) -> None:
    spool = make_spool()
    append(spool, range(20))
    _, position = spool.read(spool.start, 12)
    spool.confirm(position)
    assert adopt(tmp_path) == [], "it is locked"
    spool.close()
    assert adopt(tmp_path, Destination("another", "acme", None)) == []
    (left,) = adopt(tmp_path)
    assert left.rows == 8
    assert read_all(left)[0] == rows(range(12, 20))
    assert adopt(tmp_path) == [], "one process has it"
    left.confirm(read_all(left)[1])
    left.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_killed_process_leaves_every_row_it_had_appended(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from app.services.spool import Spool
from app.services.spool_folder import Destination
spool = Spool(Path({str(tmp_path / "spool")!r}), "one", Destination("reviews", "acme", None),
              limit_bytes=1_000_000, memory_rows=1)
for number in range(1_000):
    assert spool.append(b'{{"id":"row-%d"}}' % number) is None
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60)
    (left,) = adopt(tmp_path)
    assert read_all(left)[0] == rows(range(1_000))
    left.close()


def test_a_torn_row_is_not_taken_for_one(make_spool: Any, tmp_path: Path) -> None:
    spool = make_spool()
    append(spool, range(5))
    spool.close()
    (path,) = tmp_path.glob("spool/one/rows-*.jsonl")
    path.write_bytes(path.read_bytes() + b'{"id":"ro')
    (left,) = adopt(tmp_path)
    assert left.torn
    assert read_all(left)[0] == rows(range(5))
    left.close()


def test_rows_stay_in_memory_while_the_disk_is_full_and_keep_their_order(
    make_spool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool_module, "_RETRY_SECONDS", 0.0)
    spool = make_spool(memory_rows=10)
    append(spool, range(5))
    with monkeypatch.context() as disk:
        disk.setattr(FileSegment, "append", refuse)
        append(spool, range(5, 15))
        assert spool.append(row(99)) == "queue-full"
        assert spool.in_memory == 10
        assert "No space left" in (spool.trouble or "")
    append(spool, range(15, 20))
    assert spool.trouble is None
    assert read_all(spool)[0] == rows(range(20))
    _, position = spool.read(spool.start, 5)
    spool.save_memory()
    assert spool.in_memory == 0
    assert read_all(spool, position)[0] == rows(range(5, 20)), "positions are the same after the move"
    assert spool.close() == 0
    (left,) = adopt(tmp_path)
    assert read_all(left)[0] == rows(range(20))
    left.close()


def test_what_only_the_memory_has_at_the_end_is_counted(
    make_spool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSegment, "append", refuse)
    spool = make_spool()
    append(spool, range(5))
    assert spool.close() == 5
    assert spool.rows == 0


def test_a_slow_disk_holds_two_rows_up_and_not_the_next(
    make_spool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        time.sleep(0.15)
        return write(descriptor, data)

    spool = make_spool()
    append(spool, range(1))
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", slow)
        append(spool, range(1, 3))
        started = time.monotonic()
        append(spool, range(3, 53))
        assert time.monotonic() - started < 50 * 0.15 / 2
    assert spool.trouble == "the disk is slow"
    assert spool.in_memory == 50
    assert read_all(spool)[0] == rows(range(53))
    spool.close()


def test_the_limit_counts_what_others_left(make_spool: Any) -> None:
    spool = make_spool(limit_bytes=100)
    append(spool, range(5))
    assert spool.append(row(5), others=50) == "spool-full"
    assert spool.full
    assert spool.append(row(5)) is None
    assert not spool.full
    assert spool.append(b"x" * 5_000_001) == "too-large"
    spool.close()
    assert spool.append(row(6)) == "stopped"


def test_a_folder_that_somebody_deletes_is_made_again(
    make_spool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool_module, "_RETRY_SECONDS", 0.0)
    spool = make_spool()
    append(spool, range(3))
    shutil.rmtree(tmp_path / "spool")
    with pytest.raises(OSError, match="No such file"):
        spool.read(spool.start, 5)
    end, lost = spool.skip(spool.start)
    assert lost == 3
    append(spool, range(3, 6))
    assert read_all(spool, end)[0] == rows(range(3, 6))
    spool.close()
    (left,) = adopt(tmp_path)
    assert read_all(left)[0] == rows(range(3, 6))
    left.close()


def test_one_thread_reads_while_another_appends(make_spool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 2_000)
    spool = make_spool()
    thread = threading.Thread(target=append, args=(spool, range(5_000)))
    thread.start()
    found: list[bytes] = []
    position = spool.start
    while len(found) < 5_000:
        lines, position = spool.read(position, 50)
        found += lines
        spool.confirm(position)
    thread.join()
    assert found == rows(range(5_000))
    assert spool.rows == 0
    spool.close()
