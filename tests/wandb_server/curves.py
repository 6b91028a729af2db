"""What a run logged over its steps, as small drawings, and the tables that it logged, for the page at `/`."""

import json
import math
from html import escape
from typing import Any

from .blobs import Blobs
from .records import Run

MOST_POINTS = 300
MOST_CURVES = 12
MOST_TABLE_ROWS = 20
_WIDTH, _HEIGHT = 210, 70


def curves(run: Run) -> str:
    """A drawing for each number that at least two rows hold, in the order in which they came up."""
    values: dict[str, list[float]] = {}
    for row in run.rows:
        for name, value in row.items():
            if not name.startswith("_") and isinstance(value, (int, float)) and math.isfinite(value):
                values.setdefault(name, []).append(float(value))
    drawn = [_curve(name, points) for name, points in values.items() if len(points) > 1]
    return f'<div class="curves">{"".join(drawn[:MOST_CURVES])}</div>' if drawn else ""


def tables(run: Run, blobs: Blobs) -> str:
    """The small tables among the run's files."""
    found = {name: key for name, key in run.files.items() if name.endswith(".table.json")}
    return "".join(_table(name, blobs.read(key)) for name, key in found.items() if blobs.exists(key))


def _curve(name: str, points: list[float]) -> str:
    shown = points[:: math.ceil(len(points) / MOST_POINTS)]
    low, high = min(shown), max(shown)
    line = " ".join(
        f"{index * _WIDTH / (len(shown) - 1):.1f},{_HEIGHT - (value - low) / ((high - low) or 1) * _HEIGHT:.1f}"
        for index, value in enumerate(shown)
    )
    return (
        f'<figure><figcaption>{escape(name)}</figcaption><svg viewBox="-3 -3 {_WIDTH + 6} {_HEIGHT + 6}">'
        f'<polyline points="{line}"/></svg><span class="quiet">{low:.4g} to {high:.4g}, last {points[-1]:.4g}'
        "</span></figure>"
    )


def _table(name: str, content: bytes) -> str:
    table: dict[str, Any] = json.loads(content)
    head = "".join(f"<th>{escape(str(column))}</th>" for column in table["columns"])
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in table["data"][:MOST_TABLE_ROWS]
    )
    return f"<details open><summary>{escape(name)}</summary><table><tr>{head}</tr>{rows}</table></details>"


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
