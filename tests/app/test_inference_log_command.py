"""`python -m app.inference_log prune`: what is past its time goes, and nothing else."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_wandb import ClientAs
from tests.wandb_server import WandbServer

ROOT = Path(__file__).resolve().parents[2]


def prune(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "app.inference_log", "prune", *arguments],
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "STATE_DIR": str(folder / "state"),
            **variables,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def settings_of(server: WandbServer) -> dict[str, str]:
    return {
        "PROJECT_NAME": "reviews",
        "WANDB_ENTITY": server.entity,
        "WANDB_API_KEY": server.api_key,
        "WANDB_BASE_URL": server.url,
    }


def make_runs(server: WandbServer, wandb_as: ClientAs) -> dict[str, Any]:
    """An old run with a file of inferences, a new one, and an old one of another kind."""
    runs = {}
    with wandb_as("instance") as wandb:
        for name, job_type in (("old", "inferences"), ("new", "inferences"), ("training", "training")):
            with wandb.init(project="reviews", job_type=job_type, name=name) as run:
                run.log({"id": name})
                if name == "old":
                    artifact = wandb.Artifact(f"inferences-{run.id}", type="inferences")
                    with artifact.new_file("inferences-0001.jsonl.gz", mode="wb") as file:
                        file.write(b"rows")
                    run.log_artifact(artifact).wait()
            runs[name] = run.path
    long_ago = (datetime.now(UTC) - timedelta(days=31)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name in ("old", "training"):
        server.date_run(runs[name], long_ago)
    return runs


@pytest.mark.timeout(300)
def test_old_runs_go_with_their_files(wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path) -> None:
    runs = make_runs(wandb_server, wandb_as)
    named = prune(tmp_path, "--older-than", "30d", "--dry-run", **settings_of(wandb_server))
    assert named.returncode == 0, named.stderr
    assert runs["old"] in named.stdout
    assert "runs that would be deleted: 1" in named.stdout
    assert len(wandb_server.runs()) == 3

    deleted = prune(tmp_path, "--older-than", "30d", **settings_of(wandb_server))
    assert deleted.returncode == 0, deleted.stderr
    assert {run.path for run in wandb_server.runs()} == {runs["new"], runs["training"]}
    assert [item.state for item in wandb_server.artifacts("inferences")] == ["DELETED"]
    assert not wandb_server.unknown_fields
    assert wandb_server.api_key not in deleted.stdout + deleted.stderr


def test_old_offline_runs_go_too_and_a_missing_key_is_named(tmp_path: Path) -> None:
    for name, days in (("offline-run-1-old", 40), ("offline-run-2-new", 1)):
        folder = tmp_path / "state" / "wandb" / name
        folder.mkdir(parents=True)
        (folder / "run.wandb").write_bytes(b"rows")
        when = time.time() - days * 86_400
        os.utime(folder / "run.wandb", (when, when))
    ended = prune(tmp_path, "--older-than", "30d")
    assert ended.returncode == 1
    assert "PROJECT_NAME" in ended.stderr
    assert [path.name for path in (tmp_path / "state" / "wandb").iterdir()] == ["offline-run-2-new"]


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1y"])
def test_an_age_that_is_none_is_refused(tmp_path: Path, age: str) -> None:
    ended = prune(tmp_path, f"--older-than={age}")
    assert ended.returncode == 2
    assert "such as 30d" in ended.stderr
