"""A minute of traffic as a row of W&B: flat, under ``window/``."""

from collections.abc import Iterable

from app.services.monitoring.accuracy import Tally
from app.services.monitoring.drift import Drift
from app.services.monitoring.windows import Window

_GROUPS = {
    "labels": "label_share",
    "errors": "errors",
    "languages": "language_share",
    "latency_ms": "latency_ms",
    "queue_ms": "queue_ms",
    "inference_ms": "inference_ms",
}
"""Groups of a window's summary, and what their columns are called."""


def window_row(
    window: Window, drift: Iterable[Drift], live: Tally, model_version: str | None
) -> dict[str, float | int | str]:
    """Return the row's columns; what is not known has none.

    Args:
        window: the minute.
        drift: what is known of each signal by now.
        live: the last feedbacks.
        model_version: of the model that answers now.
    """
    summary = window.summary()
    row: dict[str, float | int | str | None] = {
        f"window/{name}": value for name, value in summary.items() if not isinstance(value, dict)
    }
    for group, column in _GROUPS.items():
        row |= {f"window/{column}/{name}": value for name, value in summary[group].items()}
    for entry in drift:
        row[f"window/drift/{entry.signal.name}"] = entry.index
        row[f"window/drifted/{entry.signal.name}"] = int(entry.drifted)
    row |= {
        "window/accuracy": live.accuracy,
        "window/calibration_error": live.calibration_error,
        "window/feedback": live.rows,
        "window/model_version": model_version,
    }
    return {name: value for name, value in row.items() if value is not None}
