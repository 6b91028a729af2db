"""The client's own process: what it leaves, when it ends, and what is said if it dies."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core import errors
from app.services import wandb_client
from app.services.registry import obtain_model
from tests.app.services.pulling import FILES, PATH, SettingsOf, content, leftovers, refused
from tests.wandb_server import WandbServer

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(300)
def test_the_client_runs_in_a_process_of_its_own(
    model: WandbServer, pull_settings: SettingsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    environment = {
        **os.environ,
        "PROJECT_NAME": "reviews",
        "WANDB_ENTITY": "acme",
        "WANDB_API_KEY": model.api_key,
        "WANDB_BASE_URL": model.url,
        "STATE_DIR": str(tmp_path / "state"),
        "LOCAL_MODEL_DIR": str(tmp_path / "models"),
        "REGISTRY_TIMEOUT_SECONDS": "100",
        "PYTHONPATH": str(ROOT),
    }
    code = (
        "import sys; from app.core.config import load_settings; from app.services.registry import obtain_model\n"
        "print(obtain_model(load_settings()).artifact, 'wandb' in sys.modules)"
    )

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    started = run("-c", code)
    assert started.stdout == f"{PATH}:v0 False\n", started.stderr
    assert content(tmp_path / "models" / "sentiment" / "v0") == FILES
    assert list((tmp_path / "state").iterdir()) == [], "the client's folders are gone"
    environment["MODEL_VERSION"] = "production"
    resolved = run("-m", "app.services.registry")
    assert json.loads(resolved.stdout) == {
        "artifact": f"{PATH}:v0",
        "version": "v0",
        "digest": model.artifact(f"{PATH}:v0").digest,
    }
    environment["WANDB_API_KEY"] = ""
    failed = run("-m", "app.services.registry")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("WANDB_API_KEY is not set")
    assert failed.stderr.count("\n") == 1


def test_empty_variables_of_the_client_mean_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "")
    monkeypatch.setenv("WANDB_ENTITY", " ")
    monkeypatch.setenv("WANDB_SILENT", "true")
    environment = wandb_client.inherited_environment()
    assert not {"WANDB_BASE_URL", "WANDB_ENTITY"} & environment.keys()
    assert environment["WANDB_SILENT"] == "true"
    script = "import wandb; print(wandb.setup().settings.base_url)"
    client = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert client.stdout.startswith("https://"), "its own default"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["deadline", "cancelled"])
def test_a_stalled_download_ends(
    model: WandbServer, pull_settings: SettingsOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    fault = model.set_fault("download", path="model.bin", stall=True)
    cancelled = threading.Event()
    processes: list[Any] = []
    real = subprocess.Popen
    monkeypatch.setattr(
        wandb_client.subprocess, "Popen", lambda *a, **k: processes.append(real(*a, **k)) or processes[-1]
    )

    def late() -> float:
        # The deadline comes, or the service stops, once the download has stalled.
        if fault.hits and how == "cancelled":
            cancelled.set()
        return time.monotonic() + (1000 if fault.hits and how == "deadline" else 0)

    monkeypatch.setattr(wandb_client, "time", SimpleNamespace(monotonic=late))
    words = "did not end in time" if how == "deadline" else "was given up, since the service is stopping"
    with pytest.raises(errors.UnreachableError, match=f"downloading {PATH}:v0 .* {words}"):
        obtain_model(pull_settings(), cancelled)
    (process,) = processes
    assert process.returncode is not None
    assert leftovers(tmp_path) == []


def test_a_client_that_dies_is_named_without_the_key(
    pull_settings: SettingsOf, monkeypatch: pytest.MonkeyPatch, model: WandbServer
) -> None:
    script = f"import sys; sys.exit('out of luck with {model.api_key}')"
    real = subprocess.Popen
    monkeypatch.setattr(
        wandb_client.subprocess, "Popen", lambda _, **options: real([sys.executable, "-c", script], **options)
    )
    refused(
        pull_settings(), errors.RegistryError, "ended before it answered (exit code 1): out of luck with ***"
    )
