"""A server that follows its alias, in a process of its own: new versions under load, then a bad one."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.services.artifact import MANIFEST_NAME
from tests import models
from tests.e2e.server_process import ServerProcess
from tests.wandb_server import WandbServer

PATH = "acme/reviews/sentiment"
SWAPS = 3


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refresh_of(server: ServerProcess) -> dict[str, Any]:
    status, health = server.ask("GET", "/api/v1/health")
    assert status == 200
    return dict(health["refresh"])


def wait_until(fact: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_versions_are_swapped_under_load_and_each_row_names_the_one_that_answered(
    tmp_path: Path, wandb_server: WandbServer
) -> None:
    files = files_of(models.tiny_onnx(tmp_path / "model"))
    wandb_server.publish(PATH, files)
    replies: list[tuple[int, Any]] = []
    done = threading.Event()
    with ServerProcess(
        tmp_path / "one",
        PROJECT_NAME="reviews",
        WANDB_ENTITY=wandb_server.entity,
        WANDB_API_KEY=wandb_server.api_key,
        WANDB_BASE_URL=wandb_server.url,
        MODEL_REFRESH_SECONDS="1",
        # Four runs are written to: a busy machine may need longer for their end than Cloud Run allows.
        SHUTDOWN_SECONDS="40",
    ) as server:
        server.wait_until_ready()

        def ask() -> None:
            while not done.is_set():
                replies.append(server.ask("POST", "/predict", {"text": "a fine film"}))
                time.sleep(0.1)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for number in range(1, SWAPS + 1):
            wandb_server.publish(PATH, files | {"note.txt": b"%d" % number})
            wait_until(lambda number=number: refresh_of(server)["swaps"] == number)
        spoilt = json.loads(files[MANIFEST_NAME])
        spoilt["golden"]["examples"][0]["label"] = "negative"
        wandb_server.publish(PATH, files | {MANIFEST_NAME: json.dumps(spoilt).encode()})
        wait_until(lambda: refresh_of(server)["rejected"] == f"v{SWAPS + 1}")
        done.set()
        for asker in askers:
            asker.join(20)
        last = server.predict("a fine film")
        assert last["model"]["version"] == f"v{SWAPS}"
        assert server.terminate(60) == 0, server.output
        assert wandb_server.api_key not in server.output

    assert {status for status, _ in replies} == {200}
    versions = {reply["model"]["version"] for _, reply in replies}
    assert versions == {f"v{number}" for number in range(SWAPS + 1)}
    answered = {reply["id"]: reply["model"] for _, reply in replies} | {last["id"]: last["model"]}
    rows = [row for run in wandb_server.runs(job_type="inferences") for row in wandb_server.rows(run)]
    rows = [row for row in rows if "sentiment" in row]
    assert {row["model_version"] for row in rows} == versions
    for row in rows:
        assert row["model_version"] == answered[row["id"]]["version"]
        assert row["model_digest"] == answered[row["id"]]["digest"]
