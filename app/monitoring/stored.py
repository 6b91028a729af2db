"""What the inference log has stored: rows of W&B's runs, batch files of their artifacts, or files of JSON lines."""

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import MarqueeError

if TYPE_CHECKING:
    import pandas


class MonitoringError(MarqueeError):
    """The stored inferences cannot be had; the message says why."""


@contextmanager
def told() -> Iterator[None]:
    """Tell what the W&B client raises in one line of ours."""
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        raise MonitoringError(f"W&B: {' '.join(str(error).split()) or type(error).__name__}") from error


def rows_of_project(project: str, entity: str | None = None) -> list[dict[str, Any]]:
    """Return every row of the runs that instances logged to, each once, by its id.

    Rows arrive at least once, so a run may hold one twice; and where history carries a share only, the files of the
    run's artifact hold them all.

    Raises:
        MonitoringError: there is no such project, or W&B does not answer.
    """
    import wandb

    with told():
        api = wandb.Api()
        path = f"{entity or api.default_entity}/{project}"
        try:
            runs = list(api.runs(path, filters={"jobType": "inferences"}))
        except ValueError as error:
            raise MonitoringError(f"W&B: {error}") from error
        return each_once(row for run in runs for row in _rows_of_run(run))


def rows_of_files(paths: list[Path]) -> list[dict[str, Any]]:
    """Return every row of files of JSON lines, compressed by gzip or not, each once.

    Raises:
        MonitoringError: a line is no JSON object.
    """
    return each_once(row for path in paths for row in _rows_of_file(path))


def each_once(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without those whose id was there before; rows without an id, such as windows, are all kept."""
    seen: set[str] = set()
    kept = []
    for row in rows:
        key = row.get("id")
        if key is None or key not in seen:
            kept.append(row)
        if isinstance(key, str):
            seen.add(key)
    return kept


def table_of(rows: list[dict[str, Any]]) -> "pandas.DataFrame":
    """Return predictions as a table: ``time``, ``model_version``, the drift signals, ``latency_ms``, ``truth``."""
    import pandas

    from app.services.monitoring.observation import observe

    truths = {row["prediction_id"]: row["truth"] for row in rows if row.get("kind") == "feedback"}
    found = []
    for row in rows:
        if row.get("kind") == "feedback" or "id" not in row or "time" not in row:
            continue
        seen = observe(row)
        found.append(
            {
                "time": row["time"],
                "model_version": row.get("model_version"),
                **seen.signals(),
                "latency_ms": seen.queue_ms + seen.inference_ms,
                "truth": truths.get(row["id"]),
            }
        )
    table = pandas.DataFrame(found)
    if len(table):
        table["time"] = pandas.to_datetime(table["time"], utc=True, format="ISO8601")
        table = table.sort_values("time", ignore_index=True)
    return table


def windows_of(rows: list[dict[str, Any]]) -> "pandas.DataFrame":
    """Return the windows as a table, their columns without ``window/``, oldest first."""
    import pandas

    prefix = "window/"
    found = [
        {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        for row in rows
        if "window/start" in row
    ]
    table = pandas.DataFrame(found)
    if len(table):
        table["start"] = pandas.to_datetime(table["start"], unit="s", utc=True)
        table = table.sort_values("start", ignore_index=True)
    return table


def _rows_of_run(run: Any) -> Iterator[dict[str, Any]]:
    for row in run.scan_history():
        yield {name: value for name, value in row.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="inferences-") as folder:
        for artifact in run.logged_artifacts():
            if artifact.type == "inferences":
                artifact.download(root=folder, skip_cache=True)
        for path in sorted(Path(folder).rglob("*.jsonl.gz")):
            yield from _rows_of_file(path)


def _rows_of_file(path: Path) -> Iterator[dict[str, Any]]:
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as lines
    ):
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise MonitoringError(f"{path.name}: line {number} is no JSON object")
            yield row
