"""A workspace in W&B over the rows that every instance logs: windows, drift, live accuracy, the log itself."""

import argparse
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from app.monitoring.stored import MonitoringError, told
from app.services.monitoring.drift import SIGNALS

NAME = "Marquee: is the model still good?"

SECTIONS: dict[str, list[tuple[str, list[str]]]] = {
    "Is it right?": [
        ("Live accuracy", ["window/accuracy"]),
        ("Calibration error", ["window/calibration_error"]),
        ("Feedbacks in the window", ["window/feedback"]),
    ],
    "Is it the same kind of text?": [
        ("Drift: stability index by signal", [f"window/drift/{signal}" for signal in SIGNALS]),
        ("Drifted signals", [f"window/drifted/{signal}" for signal in SIGNALS]),
        ("Share of labels", ["window/label_share/negative", "window/label_share/positive"]),
        ("Confidence, mean", ["window/confidence"]),
        ("Familiar pairs, mean", ["window/familiar_pairs"]),
        ("Tokens, mean", ["window/tokens"]),
        ("Unknown tokens", ["window/unknown_share"]),
        ("Truncated texts", ["window/truncated_share"]),
    ],
    "Is it quick and up?": [
        ("Predictions a minute", ["window/predictions"]),
        ("Failures a minute", ["window/failures"]),
        ("Latency, ms", ["window/latency_ms/p50", "window/latency_ms/p95", "window/latency_ms/p99"]),
        ("In line, ms", ["window/queue_ms/p50", "window/queue_ms/p99"]),
        ("In the model, ms", ["window/inference_ms/p50", "window/inference_ms/p99"]),
    ],
}
"""Titles of panels, and the columns of the windows that each draws."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--name", default=NAME, help="of the workspace")


def run(arguments: argparse.Namespace) -> int:
    """Make the workspace and print its address."""
    if not arguments.project:
        raise MonitoringError("no W&B project: set PROJECT_NAME or give --project")
    print(make(arguments.project, arguments.entity, arguments.name))  # noqa: T201
    return 0


def make(project: str, entity: str | None = None, name: str = NAME) -> str:
    """Make the workspace in a project and return its address.

    Raises:
        MonitoringError: W&B refuses or does not answer.
        ImportError: wandb-workspaces is not installed.
    """
    import wandb

    with warnings.catch_warnings():
        # It still writes validators as pydantic 1 did.
        warnings.simplefilter("ignore", DeprecationWarning)
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces

    with told(), redirect_stdout(StringIO()):
        workspace: Any = workspaces.Workspace(
            entity=entity or str(wandb.Api().default_entity),
            project=project,
            name=name,
            sections=[
                workspaces.Section(
                    name=section,
                    is_open=True,
                    panels=[
                        panels.LinePlot(title=title, x="_timestamp", y=list(columns))
                        for title, columns in charts
                    ],
                )
                for section, charts in SECTIONS.items()
            ],
            runset_settings=workspaces.RunsetSettings(filters="Metric('JobType') == 'inferences'"),
        )
        return str(workspace.save().url)
