"""What a row of the inference log costs on the event loop: its parts, and SQLite in place of the spool's files."""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.services.inference_rows import encode_row
from app.services.privacy import mask
from app.services.spool import Spool
from app.services.spool_folder import Destination
from benchmarks.report import add_json, finish, machine, quantile

_TEXT = "A good film, which I saw on a Tuesday evening with two friends who had not read the book. "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--characters", type=int, default=1_000, help="length of the texts")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    text = (_TEXT * (arguments.characters // len(_TEXT) + 1))[: arguments.characters]
    row = _row(text)
    line = encode_row(row)[0]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        spool = Spool(folder, "one", Destination("p", None, None), limit_bytes=2**40, memory_rows=1)
        rows = [
            _measure("mask the text", arguments.rows, lambda: mask(text, 1_000)),
            _measure("encode the row", arguments.rows, lambda: encode_row(row)),
            _measure("append to the spool", arguments.rows, lambda: spool.append(line)),
        ]
        rows += [
            _sqlite(folder / f"{synchronous}.db", synchronous, line, arguments.rows)
            for synchronous in ("OFF", "NORMAL")
        ]
        spool.close()
    finish("log_append", arguments, rows, before, bytes=len(line))
    return 0


def _measure(name: str, count: int, step: Callable[[], Any]) -> dict[str, Any]:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    shares = {f"p{share} µs": quantile(times, share / 100) * 1e6 for share in (50, 99, 99.9)}
    return {"step": name, **shares, "longest µs": max(times) * 1e6}


def _sqlite(path: Path, synchronous: str, line: bytes, count: int) -> dict[str, Any]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute(f"pragma synchronous={synchronous}")
    connection.execute("create table rows (number integer primary key, line blob)")
    insert = "insert into rows (line) values (?)"
    try:
        return _measure(
            f"SQLite, WAL, synchronous={synchronous}", count, lambda: connection.execute(insert, (line,))
        )
    finally:
        connection.close()


def _row(text: str) -> dict[str, Any]:
    return {
        "id": "a" * 32,
        "time": "2026-01-02T03:04:05.678+00:00",
        "sentiment": "Positive",
        "confidence_negative": 0.125,
        "confidence_positive": 0.875,
        "text": text,
        "characters": len(text),
        "tokens": 250,
        "windows": 1,
        "truncated": False,
        "unknown_tokens": 0,
        "queue_ms": 0.25,
        "inference_ms": 12.5,
        "batch_size": 1,
        "status": 200,
        "model_version": "v7",
        "model_digest": "d" * 32,
        "request_id": "b" * 32,
        "instance": "c" * 12,
        "sequence": 1,
    }
