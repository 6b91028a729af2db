"""A loopback W&B with a model, and the configuration of a server that pulls it."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.app.services.pulling import SettingsOf
    from tests.wandb_server import WandbServer


@pytest.fixture
def pull_settings(wandb_server: "WandbServer", tmp_path: Path) -> "SettingsOf":
    """`pull_settings(model_version="v0")`: the configuration of a server that pulls from the loopback W&B."""
    usual: dict[str, Any] = {
        "project_name": "reviews",
        "wandb_entity": "acme",
        "wandb_api_key": wandb_server.api_key,
        "wandb_base_url": wandb_server.url,
        "local_model_dir": tmp_path / "models",
        "state_dir": tmp_path / "state",
        "registry_timeout_seconds": 100,
    }
    from app.core.config import Settings

    return lambda **other: Settings(_env_file=None, **{**usual, **other})


@pytest.fixture(scope="module")
def client_here(
    wandb_server_process: "WandbServer", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The real client with all its folders in a temporary one, started once in this process."""
    from tests.wandb_server import client_environment

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in client_environment(wandb_server_process, tmp_path_factory.mktemp("wandb")).items():
            patch.setenv(name, value)
        import wandb

        wandb.teardown()
        yield
        with contextlib.suppress(Exception):
            wandb.teardown()


@pytest.fixture
def quick_client(client_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client answer in this process: the same code without the start of a process for each test."""
    from app.services import registry, wandb_artifacts

    def call(request: dict[str, Any], *, deadline: float, **_: Any) -> dict[str, Any]:
        seconds = min(deadline - time.monotonic(), 4)
        return json.loads(json.dumps(wandb_artifacts.answer({**request, "seconds": seconds}, lambda _: None)))

    monkeypatch.setattr(registry, "call_client", call)


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """The lines that the code under test logs."""
    from loguru import logger

    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def model(wandb_server: "WandbServer") -> "WandbServer":
    """A W&B that has one version of the model."""
    from tests.app.services.pulling import FILES, PATH

    wandb_server.publish(PATH, FILES, aliases=("production",))
    return wandb_server
