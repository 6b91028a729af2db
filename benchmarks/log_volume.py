"""Many requests a second for minutes, with the log on: is every inference found in W&B, and what does history carry?

An open loop asks a server with a small pipeline; the loopback W&B is read back with W&B's own client.
"""

import argparse
import os
import tempfile
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

from benchmarks.load import open_loop, post
from benchmarks.report import add_json, finish, machine, quantile
from benchmarks.serve import server
from benchmarks.server import LoopbackWandb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--rate", type=float, default=300, help="requests a second")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument(
        "--direct", action="store_true", help="record rows without a server, on a machine that is too slow"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table; return 1 if an inference is missing."""
    before = machine()
    if arguments.direct:
        return _direct(arguments, before)
    requests = [post("/predict", {"text": f"A good film, number {number}."}) for number in range(1_000)]
    with LoopbackWandb() as wandb:
        with server("pipeline", 1, wandb) as served:
            load = open_loop(served.port, requests, arguments.rate, arguments.seconds)
            counted = served.health()["inference_log"]
        found = _read_back(wandb.variables)
    missing = counted["received"] - sum(counted["dropped"].values()) - found["inferences"]
    rows = [
        {"figure": "requests a second, asked", "value": arguments.rate},
        {"figure": "requests a second, answered", "value": load.rate},
        {"figure": "p99, ms", "value": load.figures()["p99 ms"]},
        {"figure": "not answered", "value": sum(load.failures.values())},
        {"figure": "inferences that the server counted", "value": counted["received"]},
        {"figure": "dropped and counted", "value": sum(counted["dropped"].values())},
        {"figure": "inferences found in W&B", "value": found["inferences"]},
        {"figure": "missing", "value": missing},
        {"figure": "files", "value": found["files"]},
        {"figure": "rows of history", "value": found["history"]},
        {"figure": "rows of history in the fullest minute", "value": found["fullest"]},
        {"figure": "runs", "value": found["runs"]},
    ]
    finish("log_volume", arguments, rows, before)
    return int(missing != 0)


def _direct(arguments: argparse.Namespace, before: dict[str, Any]) -> int:
    """Record rows at the rate, in this process, and time what each costs."""
    from app.core.config import Settings
    from app.services.artifact import Manifest, ModelFiles, ModelVersion
    from app.services.inference_log import InferenceLog

    model = ModelFiles(Path("model"), ModelVersion("m", "v0", "d" * 32), "local", Manifest(), True, None)
    times = []
    with LoopbackWandb() as wandb, tempfile.TemporaryDirectory() as folder:
        values = {name.lower(): value for name, value in wandb.variables.items()}
        log = InferenceLog(Settings(_env_file=None, state_dir=Path(folder), **values))
        log.start(model)
        started = time.perf_counter()
        for number in range(round(arguments.rate * arguments.seconds)):
            time.sleep(max(0.0, started + number / arguments.rate - time.perf_counter()))
            row = {
                "id": f"row-{number}",
                "text": f"A good film, number {number}.",
                "confidence_positive": 0.875,
            }
            begun = time.perf_counter()
            log.record(row)
            times.append(time.perf_counter() - begun)
        seconds = time.perf_counter() - started
        log.stop(8)
        counted = log.health()
        found = _read_back(wandb.variables)
    rows = [
        {"figure": "rows a second", "value": len(times) / seconds},
        {"figure": "rows recorded", "value": counted["received"]},
        {"figure": "dropped and counted", "value": sum(counted["dropped"].values())},
        {"figure": "left in the spool after a stop of 8 s", "value": counted["waiting"]},
        {"figure": "inferences found in W&B", "value": found["inferences"]},
        {"figure": "files", "value": found["files"]},
        {"figure": "rows of history", "value": found["history"]},
        {"figure": "rows of history in the fullest minute", "value": found["fullest"]},
        {"figure": "record, p50 in µs", "value": quantile(times, 0.5) * 1e6},
        {"figure": "record, p99 in µs", "value": quantile(times, 0.99) * 1e6},
    ]
    finish("log_volume", arguments, rows, before)
    return int(found["inferences"] + counted["waiting"] != counted["received"])


def _read_back(variables: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= dict.fromkeys(
            ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"), folder
        )
        os.environ |= variables | {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        import wandb

        from app.services.inference_history import read_inferences

        api = wandb.Api()
        project = f"{variables['WANDB_ENTITY']}/{variables['INFERENCE_PROJECT_NAME']}"
        runs = list(api.runs(project, filters={"jobType": "inferences"}))
        times = sorted(row["_timestamp"] for run in runs for row in run.scan_history(use_cache=False))
        found = {
            "runs": len(runs),
            "inferences": sum(1 for _ in read_inferences(api, project)),
            "files": sum(
                artifact.type == "inferences" for run in runs for artifact in run.logged_artifacts()
            ),
            "history": len(times),
            "fullest": max(
                (bisect_left(times, since + 60) - at for at, since in enumerate(times)), default=0
            ),
        }
        wandb.teardown()
        return found
