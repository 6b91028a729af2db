"""What all benchmarks print and write: tables with ratios, quantiles, the machine, JSON for `plot`."""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

_LIBRARIES = (
    "numpy",
    "onnxruntime",
    "tokenizers",
    "scikit-learn",
    "fastapi",
    "uvicorn",
    "tensorflow",
    "wandb",
)
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
_BUSY = 0.5
"""Load average above which a table says that others were at work."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", type=Path, help="write the figures here too; `plot` draws them")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile, a value that was seen; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the median; NaN of nothing."""
    if not values:
        return math.nan
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def ratio(value: float, base: float) -> float:
    """Return `value` / `base`; NaN where there is no base."""
    return value / base if base else math.nan


def cell(value: Any) -> str:
    """Return a value as a table shows it: three digits that count, a dash for what was not measured."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows as a Markdown table; numbers to the right."""
    if not rows:
        return "(nothing was measured)"
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    numeric = {
        name
        for name in columns
        if all(isinstance(row.get(name), int | float | None) for row in rows)
        and any(row.get(name) is not None for row in rows)
    }
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if name in numeric else "---" for name in columns) + "|",
    ]
    lines += ["| " + " | ".join(cell(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what figures depend on: processor, cores, versions, and how busy the machine is now."""
    facts: dict[str, str] = {}
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", "").split()
    return {
        "processor": facts.get("model name", platform.machine()),
        "instructions": [flag for flag in _FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: found for name in _LIBRARIES if (found := _version(name))},
        "load_average": round(os.getloadavg()[0], 2),
    }


def finish(
    name: str,
    arguments: argparse.Namespace,
    rows: Sequence[Mapping[str, Any]],
    before: Mapping[str, Any],
    **more: Any,
) -> None:
    """Print the table and the machine, and write the JSON that ``--json`` asks for.

    Args:
        name: the benchmark's.
        arguments: its command line; kept in the JSON.
        rows: the table.
        before: `machine()` from before the run.
        more: further parts of the JSON.
    """
    print(table(rows))
    print(
        f"\n{before['processor']}, {before['cores']} cores ({', '.join(before['instructions'])}), "
        f"Python {before['python']}, "
        + ", ".join(f"{key} {value}" for key, value in before["versions"].items())
    )
    if before["load_average"] > _BUSY:
        print(
            f"The machine was not idle: load average {before['load_average']} before the run. Trust ratios only."
        )
    if arguments.json:
        kept = {
            key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()
        }
        figures = {"benchmark": name, "machine": dict(before), "arguments": kept, "rows": list(rows), **more}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=2, default=str) + "\n", "utf-8")


def progress(total: int, unit: str, description: str = "") -> Any:
    """Return a progress bar on standard error."""
    return tqdm(total=total, unit=unit, desc=description, file=sys.stderr, leave=False, dynamic_ncols=True)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
