"""Runs of one graph alone and at once, by sessions of one thread and of all: why the ONNX loader has two.

No server: threads call ONNX Runtime and nothing else. Settings take turns.
"""

import argparse
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import models, texts
from benchmarks.report import add_json, finish, machine, median, progress, ratio

_LONGEST = 510


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    texts.add_arguments(parser)
    parser.add_argument("--model", choices=("embedded", "full"), default="embedded")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="all of them")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 2, 3], help="runs at once")
    parser.add_argument("--seconds", type=float, default=2, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=64)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    from app.services.loaders.onnx_sessions import open_session

    before = machine()
    graph = models.folder_of(arguments.model) / "model.onnx"
    sessions = {count: open_session(graph, count) for count in sorted({1, arguments.threads})}
    rows: list[dict[str, Any]] = []
    for mix in arguments.mix:
        feeds = _feeds(texts.texts(mix, arguments.texts, arguments.data))
        found: dict[tuple[int, int], list[float]] = {}
        bar = progress(arguments.rounds * len(sessions) * len(arguments.callers), "run", mix)
        for _ in range(arguments.rounds):
            for count, session in sessions.items():
                for callers in arguments.callers:
                    rate = together(session, feeds, callers, arguments.seconds)
                    found.setdefault((count, callers), []).append(rate)
                    bar.update()
        bar.close()
        alone = median(found[arguments.threads, min(arguments.callers)])
        rows += [
            {"mix": mix, "threads of the session": count, "runs at once": callers, "texts/s": median(rates),
             "to one run on all": ratio(median(rates), alone)}
            for (count, callers), rates in found.items()
        ]  # fmt: skip
    finish("at_once", arguments, rows, before)
    return 0


def together(session: Any, feeds: Sequence[dict[str, Any]], callers: int, seconds: float) -> float:
    """Return the runs a second of so many threads together."""
    done = [0] * callers
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        place = number * 7
        while time.perf_counter() < end:
            session.run(["logits"], feeds[place % len(feeds)])
            place += 1
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def _feeds(written: Sequence[str]) -> list[dict[str, Any]]:
    """Return one window for each text, as the model reads it."""
    import numpy

    from app.core.config import EMBEDDED_MODEL_DIR
    from app.services.text import TextEncoder, WindowPolicy

    encoder = TextEncoder.from_file(EMBEDDED_MODEL_DIR / "tokenizer.json", WindowPolicy())
    feeds = []
    for text in encoder.encode([" ".join(text.split()[:_LONGEST]) for text in written]):
        ids = numpy.array([text.windows[0]], dtype=numpy.int32)
        feeds.append({"input_ids": ids, "attention_mask": numpy.ones_like(ids)})
    return feeds
