"""Logged inferences, read back from W&B: from the runs' history and from their files, each once."""

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_inferences(api: Any, project: str) -> Iterator[dict[str, Any]]:
    """Yield all inferences of a project, and rows of a `kind` such as feedback; one that was sent twice comes once.

    Args:
        api: a `wandb.Api`.
        project: ``entity/project``.
    """
    seen: set[str] = set()
    for run in api.runs(project, filters={"jobType": "inferences"}):
        for row in _rows(run):
            if row.get("id") is not None and row["id"] not in seen:
                seen.add(row["id"])
                yield row


def _rows(run: Any) -> Iterator[dict[str, Any]]:
    # The files first: a row of theirs that history shows too has a few columns more there.
    for artifact in run.logged_artifacts():
        if artifact.type == "inferences":
            with tempfile.TemporaryDirectory() as folder:
                artifact.download(root=folder, skip_cache=True)
                for path in sorted(Path(folder).glob("*.jsonl.gz")):
                    with gzip.open(path, "rb") as file:
                        yield from map(json.loads, file)
    for row in run.scan_history(use_cache=False):
        yield {name: value for name, value in row.items() if value is not None}
