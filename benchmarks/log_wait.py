"""What it costs to let replies wait until W&B has their rows, as INFERENCE_LOG_WAIT_SECONDS does."""

import argparse

from benchmarks.load import closed_loop, post
from benchmarks.report import add_json, finish, machine
from benchmarks.serve import server
from benchmarks.server import LoopbackWandb

_REQUESTS = [post("/predict", {"text": f"A good film, number {number}."}) for number in range(100)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=4)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    rows = []
    with LoopbackWandb() as wandb:
        for wait in ("0", "10"):
            with server("pipeline", 1, wandb, INFERENCE_LOG_WAIT_SECONDS=wait) as served:
                # The first row opens the run, which takes seconds.
                while not served.health()["inference_log"]["run"]:
                    closed_loop(served.port, _REQUESTS, 1, 1)
                load = closed_loop(served.port, _REQUESTS, arguments.clients, arguments.seconds)
            rows.append({"INFERENCE_LOG_WAIT_SECONDS": wait, **load.figures()})
    finish("log_wait", arguments, rows, before)
    return 0
