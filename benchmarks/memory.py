"""Memory of the server's process over many requests of mixed lengths, and of a server of a full-size int8 model.

One text in fifty has the length of a review, the others are short: 200,000 requests then take minutes. What an
allocator holds is set by the longest texts, so all lengths come early and go on coming.
"""

import argparse
import os
import random
from typing import Any

from benchmarks import models, texts
from benchmarks.load import count_loop, post
from benchmarks.report import add_json, finish, machine, progress, ratio
from benchmarks.serve import server
from benchmarks.server import LoopbackWandb, Server

GOAL_RATIO, GOAL_MEGABYTES = 1.05, 350
_REVIEWS_SHARE = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--first", type=int, default=5_000, help="requests after which memory is first read")
    parser.add_argument("--samples", type=int, default=20, help="how often it is read after that")
    parser.add_argument("--model", choices=models.MODELS, default="embedded")
    parser.add_argument(
        "--full", type=int, default=200, help="requests to the full-size model; 0 leaves it out"
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-log", action="store_true", help="without the inference log")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    rows = []
    if arguments.no_log:
        with server(arguments.model, arguments.threads) as ours:
            rows = _watch(arguments, ours)
    else:
        with LoopbackWandb() as wandb, server(arguments.model, arguments.threads, wandb) as ours:
            rows = _watch(arguments, ours)
    if arguments.full:
        with server("full", arguments.threads) as ours:
            failed = _ask(ours, requests(), arguments.clients, arguments.full, "full size")
            rows.append(
                {"server": "6×768 int8", "requests": arguments.full, "MB": ours.resident(), "failed": failed,
                 "goal": f"at most {GOAL_MEGABYTES} MB"}
            )  # fmt: skip
    finish("memory", arguments, rows, before)
    return 0


def requests() -> list[bytes]:
    """Return short texts with a review's length among every fifty, the longest first."""
    short, long = texts.texts("short", 49 * 20), sorted(texts.texts("imdb", 20), key=len)
    mixed = short + long
    random.Random(4).shuffle(mixed)
    return [post("/predict", {"text": text}) for text in [long[-1], *mixed]]


def _watch(arguments: argparse.Namespace, ours: Server) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    asked, failed, bodies = 0, 0, requests()
    steps = [arguments.first]
    rest = arguments.requests - arguments.first
    steps += [
        rest * (index + 1) // arguments.samples - rest * index // arguments.samples
        for index in range(arguments.samples)
    ]
    for step in steps:
        if step <= 0:
            continue
        failed += _ask(ours, bodies, arguments.clients, step, f"{asked:,} of {arguments.requests:,}")
        asked += step
        megabytes = ours.resident()
        base = rows[0]["MB"] if rows else megabytes
        rows.append(
            {"server": arguments.model, "requests": asked, "MB": megabytes, "to the first": ratio(megabytes, base),
             "failed": failed, "goal": f"to the first at most {GOAL_RATIO}"}
        )  # fmt: skip
    return rows


def _ask(ours: Server, bodies: list[bytes], clients: int, count: int, description: str) -> int:
    bar = progress(count, "request", description)
    load = count_loop(ours.port, bodies, clients, count, bar.update)
    bar.close()
    return sum(load.failures.values())
