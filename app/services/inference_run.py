"""What the inference log's writer needs of a run, whoever keeps it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from app import __version__
from app.core.config import Settings
from app.services.artifact import ModelFiles

_TRANSMIT_SECONDS = 5
_QUICK_TRANSMIT_SECONDS = 1
"""Where replies wait for W&B. The client cuts fractions off, and takes 15 seconds for none."""


class RunLostError(Exception):
    """The run cannot be used any more.

    Attributes:
        written: how many rows of the last request had been written.
    """

    def __init__(self, reason: str, written: int = 0) -> None:
        """Say why."""
        super().__init__(reason)
        self.written = written


@dataclass(frozen=True, slots=True)
class Stored:
    """What W&B says that it has of a run's history.

    Attributes:
        last: the last step; -1 where there is none, or W&B does not know.
        lines: how many rows.
        ids: the ids of the rows past the confirmed ones, where they were asked for.
    """

    last: int
    lines: int
    ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Which run to open.

    Attributes:
        folder: where the client keeps everything.
        online: whether rows go to W&B at once; else they stay in the folder, in the client's offline format.
        key: the API key; None offline.
        base_url: W&B's address, None for the client's default.
        open_seconds: how long W&B may take to open the run.
        transmit_seconds: how often the client sends what it was given.
        artifact: the model's full name in the registry, for the lineage.
        run: what `wandb.init` is given.
    """

    folder: Path
    online: bool
    key: str | None
    base_url: str | None
    open_seconds: float
    transmit_seconds: float
    artifact: str | None
    run: dict[str, Any]


class Run(Protocol):
    """What the writer asks of a run. Every method comes back in bounded time; all but `kill` may raise RunLostError."""

    path: str | None
    url: str | None
    folder: str

    def stopped(self) -> bool:
        """Whether W&B, or somebody on its page, has ended the run."""

    def write(self, rows: list[bytes]) -> None:
        """Write rows, each one JSON object."""

    def summarize(self, values: dict[str, Any]) -> None:
        """Set values of the run's summary."""

    def alert(self, title: str, text: str, level: str) -> None:
        """Have W&B tell people; `level` is INFO, WARN or ERROR."""

    def log_batch(self, file: Path, rows: int) -> None:
        """Begin to upload a file of so many inferences, as a version of the run's own artifact."""

    def outcomes(self) -> dict[str, str | None]:
        """Return the uploads that ended since the last call, by file name: None, or why it failed."""

    def stored(self, path: str) -> Stored | None:
        """Return what W&B has of this or another run; None if it does not say."""

    def scan(self, path: str, first: int) -> frozenset[str] | None:
        """Return the ids of the rows from a step on that W&B has; None if it does not say."""

    def finish(self, seconds: float, first: int, last: int) -> Stored | None:
        """Finish the run and end the child.

        Args:
            seconds: how long that may take, with the wait until W&B has everything.
            first: the first step that is not confirmed; the ids from there on are read where W&B lacks steps.
            last: the last step that was written, -1 if none was.

        Returns:
            What W&B has; None if it does not say. Offline it is what the client has written.
        """

    def kill(self) -> None:
        """End the child at once."""


OpenRun = Callable[[RunRequest, Callable[[], float]], Run]
"""Opens a run. The callable returns the time, as of `time.monotonic`, past which nothing may wait; it may change."""


def run_request(settings: Settings, files: ModelFiles, instance: str, number: int) -> RunRequest:
    """Describe the `number`-th run, from 1, of an instance that serves these files.

    It goes to W&B where both a key and a project are set; else it is kept in the client's offline format.
    """
    online = settings.wandb_api_key is not None and settings.inference_project is not None
    loader = settings.model_loader if settings.model_loader != "auto" else files.manifest.loader
    config = {
        "model": files.model.name,
        "model_version": files.model.version,
        "model_digest": files.model.digest,
        "model_source": files.source,
        "artifact": files.artifact,
        "loader": loader or "auto",
        "model_warnings": list(files.warnings) or None,
        "instance": instance,
        "sample": settings.inference_log_sample,
        "app_version": __version__,
        "revision": settings.k_revision,
        "service": settings.k_service,
    }
    run = {
        "project": settings.inference_project or "marquee",
        "entity": settings.wandb_entity,
        "id": secrets.token_hex(6),
        "name": instance if number == 1 else f"{instance}-{number}",
        "job_type": "inferences",
        "group": settings.k_revision or "local",
        "config": {name: value for name, value in config.items() if value is not None},
    }
    key = settings.wandb_api_key if online else None
    return RunRequest(
        folder=settings.state_dir,
        online=online,
        key=key.get_secret_value() if key else None,
        base_url=settings.wandb_base_url,
        open_seconds=settings.inference_log_start_seconds,
        transmit_seconds=_TRANSMIT_SECONDS
        if not settings.inference_log_wait_seconds
        else _QUICK_TRANSMIT_SECONDS,
        artifact=files.artifact,
        run=run,
    )
