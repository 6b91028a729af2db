"""``make soak``: a real server under mixed load with faults switched on and off, and the count of what went wrong."""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.services.predictor import load_predictor
from tests import models
from tests.e2e.server_process import ServerProcess
from tests.soak.faults import Faults
from tests.soak.load import Load, Outcome
from tests.wandb_server import WandbServer, client_environment

TEXTS = [
    f"{start} {middle} {end}"
    for start in ("a fine", "a dull", "the best")
    for middle in ("film", "plot", "cast, and music")
    for end in ("", "!", "it was wonderful", "i hated it", "slow " * 30)
]
REPORT_SECONDS = 30.0
DELIVERY_SECONDS = 120.0
LIVENESS_SECONDS = 0.2
GROWTH_KB_A_MINUTE = 1_024
STEADY_SECONDS = 300
"""A shorter run is still warming up: its growth is told, not judged."""


@dataclass
class Soak:
    """What a run came to."""

    seconds: float
    outcome: Outcome
    stored: set[str]
    health: dict[str, Any]
    memory: list[tuple[float, int]]
    faults: list[str]
    exit_code: int
    output: str
    lost: int = field(init=False)

    def __post_init__(self) -> None:
        missing = self.outcome.answered.keys() - self.stored
        self.lost = max(0, len(missing) - sum(self.health["inference_log"]["dropped"].values()))

    @property
    def growth(self) -> float:
        """Kilobytes a minute that the server grew by, after the first third."""
        later = self.memory[len(self.memory) // 3 :]
        times, sizes = zip(*later, strict=True)
        return float(statistics.linear_regression(times, sizes).slope) * 60 / 1024 if len(later) > 2 else 0.0

    @property
    def liveness(self) -> float:
        """Seconds that 99 of 100 looks at the liveness took at most."""
        return statistics.quantiles(self.outcome.liveness, n=100)[-1]

    def rows(self) -> list[tuple[str, str, bool]]:
        """Name, figure, and whether it is as it should be."""
        log, refresh = self.health["inference_log"], self.health["refresh"]
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.outcome.statuses.items()))
        answered = len(self.outcome.answered)
        return [
            ("seconds", f"{self.seconds:.0f}", True),
            ("requests by status", statuses, True),
            ("callers that left early", f"{self.outcome.left}", True),
            ("faults switched on", f"{len(self.faults)}", True),
            ("models swapped in", f"{refresh['swaps']}", refresh["swaps"] > 0),
            ("wrong answers or statuses", f"{len(self.outcome.wrong)}", not self.outcome.wrong),
            ("predictions answered", f"{answered}", answered > 0),
            ("of them stored in W&B", f"{len(self.outcome.answered.keys() & self.stored)}", True),
            ("counted as dropped", f"{sum(log['dropped'].values())}", True),
            ("lost without a count", f"{self.lost}", self.lost == 0),
            ("memory, start to end", f"{self.memory[0][1] >> 20} to {self.memory[-1][1] >> 20} MiB", True),
            (
                "growth after the first third",
                f"{self.growth:.0f} KiB a minute",
                self.growth < GROWTH_KB_A_MINUTE,
            ),
            ("liveness p99", f"{self.liveness * 1000:.0f} ms", self.liveness < LIVENESS_SECONDS),
            ("exit code", f"{self.exit_code}", self.exit_code == 0),
        ]


def soak(seconds: float, seed: int, folder: Path, report: bool = True) -> Soak:
    """Run the load for so long; blocks."""
    model = models.tiny_onnx(folder / "model")
    predictor = load_predictor(models.model_files(model), models.settings_for("onnx"))
    outputs = predictor.predict(predictor.prepare(TEXTS))
    expected = {text: output.confidences for text, output in zip(TEXTS, outputs, strict=True)}
    with WandbServer() as wandb_server:
        faults = Faults(wandb_server, model)
        faults.publish()
        with ServerProcess(
            folder / "server",
            PROJECT_NAME="reviews",
            WANDB_ENTITY=wandb_server.entity,
            WANDB_API_KEY=wandb_server.api_key,
            WANDB_BASE_URL=wandb_server.url,
            MODEL_REFRESH_SECONDS="2",
            INFERENCE_THREADS="1",
        ) as server:
            server.wait_until_ready()
            load = Load(server.port, expected, seed)
            with _probing(server.port, folder / "liveness") as seen:
                memory = asyncio.run(_run(load, faults, server, seconds, report))
            for line in seen.read_text().splitlines():
                status, _, took = line.partition(" ")
                load.note_probe(int(status), float(took))
            _wait_for_delivery(server)
            _, health = server.ask("GET", "/api/v1/health")
            code = server.terminate()
            output = server.output
        stored = _stored(wandb_server, folder)
    return Soak(seconds, load.outcome, stored, health, memory, faults.switched, code, output)


@contextlib.contextmanager
def _probing(port: int, seen: Path) -> Iterator[Path]:
    """Look at the liveness meanwhile; the looks are lines of a file."""
    with seen.open("wb") as output:
        probe = subprocess.Popen([sys.executable, "-m", "tests.soak.probe", str(port)], stdout=output)
        try:
            yield seen
        finally:
            probe.terminate()
            probe.wait(10)


async def _run(
    load: Load, faults: Faults, server: ServerProcess, seconds: float, report: bool
) -> list[tuple[float, int]]:
    process, memory = psutil.Process(server.process.pid), []
    tasks = [asyncio.create_task(load.run())]
    tasks.append(asyncio.create_task(faults.run(load.done, min(10.0, seconds / 16))))
    started = reported = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        await asyncio.sleep(min(1.0, seconds / 20))
        memory.append((passed, process.memory_info().rss))
        if report and time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            seen = load.outcome
            print(
                f"{passed:5.0f} s  {sum(seen.statuses.values())} requests, {len(seen.wrong)} wrong, "
                f"{memory[-1][1] >> 20} MiB, {faults.now}",
                flush=True,
            )
    load.done.set()
    await asyncio.gather(*tasks)
    return memory


def _wait_for_delivery(server: ServerProcess) -> None:
    end = time.monotonic() + DELIVERY_SECONDS
    while time.monotonic() < end:
        if server.ask("GET", "/api/v1/health")[1]["inference_log"]["waiting"] == 0:
            return
        time.sleep(0.5)


def _stored(server: WandbServer, folder: Path) -> set[str]:
    """Return the ids of all inferences that W&B has, read as docs/inference-log.md says."""
    from app.services.inference_history import read_inferences

    with _environment(client_environment(server, folder, "reader")):
        import wandb

        try:
            return {str(row["id"]) for row in read_inferences(wandb.Api(), f"{server.entity}/reviews")}
        finally:
            with contextlib.suppress(Exception):
                wandb.teardown()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> int:
    """Run it, print the table, and return 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marquee-soak-") as folder:
        result = soak(arguments.seconds, arguments.seed, Path(folder))
    rows = result.rows()
    width = max(len(name) for name, _, _ in rows)
    for name, figure, right in rows:
        print(f"{name:<{width}}  {figure}{'' if right else '   <-- not as it should be'}")
    for line in result.outcome.wrong[:20]:
        print(f"wrong: {line}")
    if "Traceback" in result.output or not all(right for _, _, right in rows):
        print(result.output[-3_000:])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
