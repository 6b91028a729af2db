"""Fixtures for tests that talk to the loopback W&B, with the real client or through the project's code."""

import contextlib
import gc
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.wandb_server import WandbServer

EnvironmentOf = Callable[..., dict[str, str]]
ClientAs = Callable[..., contextlib.AbstractContextManager[ModuleType]]

_QUICK = {
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    "WANDB_X_DISABLE_STATS": "true",
}
"""What the client would gather about this machine takes it longer than all of its talk with the server."""


@pytest.fixture(scope="session")
def wandb_server_process() -> "Iterator[WandbServer]":
    """The one server of a test session. Tests take `wandb_server`, which starts empty."""
    from tests.wandb_server import WandbServer

    with WandbServer() as server:
        yield server


@pytest.fixture
def wandb_server(wandb_server_process: "WandbServer") -> "Iterator[WandbServer]":
    """An empty loopback W&B without faults; its address is the same for all tests of a session."""
    # After errors the client leaves sockets and temporary files to the garbage collector. Collecting at the
    # end keeps its warnings out of the tests that follow, and freezing what was there before makes it quick.
    warnings.filterwarnings("ignore", category=ResourceWarning)
    gc.freeze()
    wandb_server_process.reset()
    yield wandb_server_process
    # A request that hangs must not outlive its test.
    wandb_server_process.clear_faults()
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def wandb_environment(wandb_server: "WandbServer", tmp_path: Path) -> EnvironmentOf:
    """`wandb_environment(role="client")`: variables for a client whose every folder is under `tmp_path/role`.

    Only the variables: add them to `os.environ` for a subprocess, or set them with monkeypatch.
    """
    from tests.wandb_server import client_environment

    return lambda role="client": client_environment(wandb_server, tmp_path, role)


@pytest.fixture
def wandb_as(wandb_environment: EnvironmentOf) -> ClientAs:
    """`with wandb_as("publisher") as wandb:` is the real client in this process, in that role's environment.

    The client's service process ends with the block. Keywords are further variables, None takes one away.
    """

    @contextlib.contextmanager
    def client(role: str = "client", **variables: str | None) -> Iterator[ModuleType]:
        import wandb

        values: dict[str, str | None] = {**wandb_environment(role), **_QUICK, **variables}
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("WANDB_")]:
                patch.delenv(name)
            for name, value in values.items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            # Settings are read once in a process; a teardown makes the client read them again.
            wandb.teardown()
            try:
                yield wandb
            finally:
                with contextlib.suppress(Exception):
                    wandb.teardown()

    return client
