"""What logging every inference costs: the same server with the inference log on (to a W&B on loopback) and off.

Runs take turns; a ratio is made in each round and the median of the rounds is what counts.
"""

import argparse
import os
from contextlib import ExitStack
from typing import Any

from benchmarks import models, texts
from benchmarks.load import Load, closed_loop, open_loop, post
from benchmarks.report import add_json, finish, machine, median, progress, ratio
from benchmarks.serve import server, warm
from benchmarks.server import LoopbackWandb, Server

GOAL_SHARE, GOAL_MILLISECONDS = 0.97, 1.0
"""The log may cost 3 % of the throughput and 1 ms of p99."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    texts.add_arguments(parser, mixes=("short",))
    parser.add_argument("--model", nargs="+", choices=models.MODELS, default=["embedded", "pipeline"])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10, help="of one run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    rows: list[dict[str, Any]] = []
    for model in arguments.model:
        for mix in arguments.mix:
            with ExitStack() as stack:
                wandb = stack.enter_context(LoopbackWandb())
                servers = {
                    "off": stack.enter_context(server(model, arguments.threads)),
                    "on": stack.enter_context(server(model, arguments.threads, wandb)),
                }
                rows.append({"model": model, "mix": mix, **_compare(arguments, mix, servers)})
    finish("log_overhead", arguments, rows, before)
    return 0


def _compare(arguments: argparse.Namespace, mix: str, servers: dict[str, Server]) -> dict[str, Any]:
    requests = [
        post("/predict", {"text": text}) for text in texts.texts(mix, arguments.texts, arguments.data)
    ]
    closed: dict[str, list[Load]] = {name: [] for name in servers}
    opened: dict[str, list[Load]] = {name: [] for name in servers}
    for ours in servers.values():
        warm(ours, requests)
    bar = progress(arguments.rounds * 4, "run", mix)
    for number in range(arguments.rounds):
        # Whoever comes second finds warmer caches: they change places.
        order = list(servers)[:: -1 if number % 2 else 1]
        for name in order:
            port = servers[name].port
            closed[name].append(
                closed_loop(port, requests, arguments.clients, arguments.seconds, skip=number * 7)
            )
            bar.update()
        half = 0.5 * closed["off"][0].rate
        for name in order:
            opened[name].append(open_loop(servers[name].port, requests, half, arguments.seconds, seed=number))
            bar.update()
    bar.close()
    health = servers["on"].health()["inference_log"]
    return overhead(closed, opened) | {"dropped": sum(health.get("dropped", {}).values())}


def overhead(closed: dict[str, list[Load]], opened: dict[str, list[Load]]) -> dict[str, Any]:
    """Return the rates off and on, their ratio, both p99 at half load, and what the log adds; medians of rounds."""
    shares = [ratio(on.rate, off.rate) for on, off in zip(closed["on"], closed["off"], strict=True)]
    p99 = {name: [load.figures()["p99 ms"] for load in loads] for name, loads in opened.items()}
    added = [on - off for on, off in zip(p99["on"], p99["off"], strict=True)]
    return {
        "1/s off": median([load.rate for load in closed["off"]]),
        "1/s on": median([load.rate for load in closed["on"]]),
        "ratio": median(shares),
        "p99 ms off, half load": median(p99["off"]),
        "p99 ms on, half load": median(p99["on"]),
        "added ms": median(added),
        "failed": sum(
            sum(load.failures.values()) for loads in (*closed.values(), *opened.values()) for load in loads
        ),
        "goal": f"ratio at least {GOAL_SHARE}, at most {GOAL_MILLISECONDS:g} ms added",
    }
