"""Weights & Biases for the training side: a run, or nothing, behind the same few calls."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class TrackingError(RuntimeError):
    """W&B cannot be used; the message says why."""


class Tracker:
    """A W&B run; without a project it keeps silent."""

    def __init__(self, run: Any | None) -> None:
        """Wrap a `wandb` run, or None for none."""
        self.run = run

    @classmethod
    def start(cls, project: str | None, job_type: str, config: dict[str, Any], folder: Path) -> "Tracker":
        """Open a run of `job_type` in `project`; offline where no key is set, none where `project` is None.

        Raises:
            TrackingError: W&B refused the run or did not answer.
        """
        if not project:
            return cls(None)
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        has_key = bool(os.environ.get("WANDB_API_KEY"))
        try:
            run = wandb.init(
                project=project,
                entity=os.environ.get("WANDB_ENTITY") or None,
                job_type=job_type,
                config=config,
                dir=str(folder),
                mode="online" if has_key else "offline",
            )
        except wandb.errors.Error as error:
            raise TrackingError(f"no W&B run in {project}: {str(error).splitlines()[0]}") from error
        return cls(run)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a small table."""
        if self.run is not None:
            import wandb

            self.run.log({name: wandb.Table(columns=[*columns], data=[list(row) for row in rows])})

    def log(self, values: dict[str, Any]) -> None:
        """Log one row of metrics."""
        if self.run is not None:
            self.run.log(values)

    def summarize(self, values: dict[str, Any]) -> None:
        """Set final metrics of the run."""
        if self.run is not None:
            self.run.summary.update(values)

    def finish(self, exit_code: int = 0) -> None:
        """Close the run."""
        if self.run is not None:
            self.run.finish(exit_code=exit_code)
