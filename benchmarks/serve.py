"""The real server over HTTP, against the same engine called directly on the same texts.

Closed loops of several numbers of clients, and open loops at shares of what the busiest closed loop reached. Runs take
turns: engine alone, server with the inference log off, with the log on (to a W&B on loopback); round after round.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import models, texts
from benchmarks.load import Load, closed_loop, count_loop, open_loop, post
from benchmarks.report import add_json, finish, machine, median, progress, ratio
from benchmarks.server import ROOT, LoopbackWandb, Server

_WARM = 32
_OPEN_SECONDS = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    texts.add_arguments(parser)
    parser.add_argument("--model", choices=models.MODELS, default="embedded")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument(
        "--loads", type=float, nargs="*", default=[0.5, 0.8], help="open loops, as shares of the most"
    )
    parser.add_argument("--seconds", type=float, default=10, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=64, help="in a round of the engine alone")
    parser.add_argument(
        "--target", type=float, default=500, help="milliseconds within which an answer is a good one"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-log", action="store_true", help="leave out the server that logs inferences")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = {"log off": stack.enter_context(server(arguments.model, arguments.threads))}
        if not arguments.no_log:
            wandb = stack.enter_context(LoopbackWandb())
            servers["log on"] = stack.enter_context(server(arguments.model, arguments.threads, wandb))
        for mix in arguments.mix:
            rows += _mix(arguments, mix, servers)
    finish("serve", arguments, rows, before)
    return 1 if any(row.get("failed") for row in rows) else 0


def server(model: str, threads: int, wandb: LoopbackWandb | None = None, **variables: str) -> Server:
    """Return a server of one of the models that takes all that a benchmark sends; not started yet."""
    logged = wandb.variables if wandb is not None else {}
    return Server(
        inference_log=wandb is not None,
        **models.variables(model),
        INFERENCE_THREADS=str(threads),
        MAX_WAITING="4096",
        REQUEST_TIMEOUT_SECONDS="60",
        **logged,
        **variables,
    )


def warm(ours: Server, requests: Sequence[bytes]) -> None:
    """Ask until everything is loaded, and wait until the inference log's run is open: neither is what is measured."""
    count_loop(ours.port, requests, 4, _WARM, lambda _: None)
    deadline = time.monotonic() + _OPEN_SECONDS
    while ours.health()["inference_log"]["state"] not in ("off", "ok"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no run within {_OPEN_SECONDS} s: {ours.health()['inference_log']}")
        time.sleep(0.2)


class Direct:
    """The engine in a process of its own; `measure` runs all texts once in every size of batch."""

    def __init__(
        self, folder: Path, written: list[str], threads: int, batches: tuple[int, ...] = (1, 4, 16)
    ) -> None:
        self._file = tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8")  # noqa: SIM115 - kept open
        json.dump(written, self._file)
        self._file.flush()
        sizes = [str(size) for size in batches]
        self._command = [sys.executable, "-m", "benchmarks.direct", str(folder), self._file.name]
        self._command += ["--threads", str(threads), "--batches", *sizes]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self._line()
        except BaseException:
            self._process.terminate()
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)
        self._file.close()

    def measure(self) -> dict[str, float]:
        """Return texts a second by the way they were asked."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        return {way: float(rate) for way, rate in json.loads(self._line()).items()}

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the engine alone ended; see above")
        return line


def _mix(arguments: argparse.Namespace, mix: str, servers: dict[str, Server]) -> list[dict[str, Any]]:
    written = texts.texts(mix, arguments.texts, arguments.data)
    requests = [post("/predict", {"text": text}) for text in written]
    alone: dict[str, list[float]] = {}
    closed: dict[tuple[str, int], Load] = {}
    opened: dict[tuple[str, float], Load] = {}
    batches = (1, 4, 16) if arguments.model != "pipeline" else (1, 16, 64)
    for server in servers.values():
        warm(server, requests)
    steps = 1 + len(servers) * (len(arguments.clients) + len(arguments.loads))
    bar = progress(arguments.rounds * steps, "run", mix)
    with Direct(models.folder_of(arguments.model), written, arguments.threads, batches) as direct:
        for number in range(arguments.rounds):
            for way, rate in direct.measure().items():
                alone.setdefault(way, []).append(rate)
            bar.update()
            for clients in arguments.clients:
                for name, server in servers.items():
                    found = closed_loop(server.port, requests, clients, arguments.seconds, skip=number * 7)
                    closed.setdefault((name, clients), Load()).add(found)
                    bar.update()
            most = max(found.rate for (name, _), found in closed.items() if name == "log off")
            for share in arguments.loads:
                for name, server in servers.items():
                    found = open_loop(server.port, requests, share * most, arguments.seconds, seed=number)
                    opened.setdefault((name, share), Load()).add(found)
                    bar.update()
    bar.close()
    best = max(median(rates) for rates in alone.values())
    target = arguments.target / 1000
    rows: list[dict[str, Any]] = []
    for way, rates in alone.items():
        rate = median(rates)
        rows.append({"mix": mix, "what": f"engine alone, {way}", "1/s": rate, "to the engine": rate / best})
    loops = {f"{name}, {clients} clients": load for (name, clients), load in closed.items()}
    loops |= {f"{name}, open at {share:.0%} of the most": load for (name, share), load in opened.items()}
    for what, load in loops.items():
        goodput = load.goodput(target)
        more = {} if "open" in what else {"to the engine": ratio(load.rate, best)}
        rows.append({"mix": mix, "what": what, **load.figures(), "good 1/s": goodput, **more})
    return rows
