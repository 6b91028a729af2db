"""Weights & Biases for the training side: a run, or nothing, behind the same few calls."""

import os
from pathlib import Path
from typing import Any


class Tracker:
    """A W&B run; without a project it keeps silent."""

    def __init__(self, run: Any | None) -> None:
        """Wrap a `wandb` run, or None for none."""
        self.run = run

    @classmethod
    def start(cls, project: str | None, job_type: str, config: dict[str, Any], folder: Path) -> "Tracker":
        """Open a run of `job_type` in `project`; offline where no key is set, none where `project` is None."""
        if not project:
            return cls(None)
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        has_key = bool(os.environ.get("WANDB_API_KEY"))
        return cls(
            wandb.init(
                project=project,
                entity=os.environ.get("WANDB_ENTITY") or None,
                job_type=job_type,
                config=config,
                dir=str(folder),
                mode="online" if has_key else "offline",
            )
        )

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
