"""Draw the JSON files that other benchmarks have written, as SVG or PNG."""

import argparse
import json
from pathlib import Path
from typing import Any

_WIDTH = 8.0
_COLOURS = ("#2f6f9f", "#c8793a", "#5a8f4e", "#8a5a9f", "#888888", "#b04a4a", "#3f9f9a")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("figures", type=Path, nargs="+", help="JSON files of other benchmarks")
    parser.add_argument("--to", type=Path, default=Path("docs/images"), help="folder of the pictures")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")


def run(arguments: argparse.Namespace) -> int:
    """Draw each file; a picture has its benchmark's name."""
    for path in arguments.figures:
        figures = json.loads(path.read_text("utf-8"))
        for target in draw(figures, arguments.to, arguments.format):
            print(target)
    return 0


def draw(figures: dict[str, Any], folder: Path, kind: str) -> list[Path]:
    """Write the pictures of one benchmark.

    Raises:
        SystemExit: the file is of a benchmark that has no picture.
    """
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "benchmarks", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    name = figures["benchmark"]
    model = figures.get("arguments", {}).get("model")
    # Runs of several models have a picture each.
    stem = f"{name}_{model}" if isinstance(model, str) else name
    if name not in _DRAWN:
        raise SystemExit(f"{name} has no picture; those that have: {', '.join(_DRAWN)}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, figure in _DRAWN[name](figures["rows"]):
        machine = figures["machine"]
        figure.text(
            0.99, 0.005, f"{machine['processor']}, {machine['cores']} cores, load {machine['load_average']} before",
            ha="right", fontsize=6, color="#666666",
        )  # fmt: skip
        target = folder / f"{stem}{suffix}.{kind}"
        figure.savefig(target, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        written.append(target)
    return written


def _figure(height: float, title: str, label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(label)
    return figure, axes


def _bars(
    rows: list[tuple[str, float | None, str]], title: str, label: str, goal: float | None = None
) -> Any:
    """Return bars from the top down: name, length, colour; an empty one says that it was not measured."""
    figure, axes = _figure(0.9 + 0.24 * len(rows), title, label)
    for place, (_, value, colour) in enumerate(rows):
        if value is None or value != value:
            axes.annotate(
                "not measured",
                (0, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                color="#888888",
            )
            continue
        axes.barh(place, value, color=colour, height=0.7)
        axes.annotate(
            _short(value), (value, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.margins(x=0.12)
    # From the top down, with room for a row that has no bar.
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if goal is not None:
        axes.axvline(goal, color="#444444", linestyle="--", linewidth=0.8)
    return figure


def _engine(rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    pictures = []
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model and "tokens" in row]
        if not mine:
            continue
        figure, axes = _figure(
            3.6, f"{model}: share of the matrix limit of the same precision, one text at a time", "tokens"
        )
        engines = dict.fromkeys(row["engine"] for row in mine)
        least = min(row["batch"] for row in mine)
        for colour, engine in zip(_COLOURS, engines, strict=False):
            points = [
                (row["tokens"], row["share of the limit"])
                for row in mine
                if (row["engine"], row["batch"]) == (engine, least)
            ]
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=engine)
        axes.axhline(0.7, color="#444444", linestyle="--", linewidth=0.8)
        axes.set_ylim(0)
        axes.set_xscale("log", base=2)
        ticks = sorted({row["tokens"] for row in mine})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.legend(frameon=False, fontsize=8)
        pictures.append((f"_{model.replace('×', 'x')}", figure))
    return pictures


def _serve(rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    pictures = []
    for mix in dict.fromkeys(row["mix"] for row in rows):
        bars = [
            (
                row["what"],
                row.get("to the engine"),
                _COLOURS[4 if "alone" in row["what"] else 0 if "off" in row["what"] else 1],
            )
            for row in rows
            if row["mix"] == mix and "open" not in row["what"]
        ]
        pictures.append(
            (f"_{mix}", _bars(bars, f"{mix}: throughput, to the engine alone at its best", "ratio", 0.95))
        )
    return pictures


def _peers(rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    pictures = []
    for mix in dict.fromkeys(row["mix"] for row in rows):
        mine = [row for row in rows if row["mix"] == mix]
        rate = max(
            (name for name in mine[0] if name.startswith("1/s at")), key=lambda name: int(name.split()[-1])
        )
        bars = [
            (row["server"], row[rate], _COLOURS[0 if row["server"].startswith("marquee") else 4])
            for row in mine
        ]
        bars.sort(key=lambda bar: -(bar[1] or 0))
        title = f"{mix}: answers a second, {rate.split()[-1]} clients"
        pictures.append((f"_{mix}", _bars(bars, title, "1/s")))
    return pictures


def _memory(rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    mine = [row for row in rows if "to the first" in row]
    figure, axes = _figure(3.0, "Memory of the server's process", "requests")
    axes.plot(
        [row["requests"] for row in mine],
        [row["MB"] for row in mine],
        marker="o",
        markersize=3,
        color=_COLOURS[0],
    )
    axes.axhline(1.05 * mine[0]["MB"], color="#444444", linestyle="--", linewidth=0.8)
    axes.set_ylim(0)
    axes.set_ylabel("MB")
    return [("", figure)]


def _log_overhead(rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    bars = [(f"{row['model']}, {row['mix']}", row["ratio"], _COLOURS[1]) for row in rows]
    return [("", _bars(bars, "Throughput with the inference log, to that without it", "ratio", 0.97))]


def _cold_start(rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    bars = [
        (row["part"], row["seconds"], _COLOURS[0 if "first answer" in row["part"] else 4]) for row in rows
    ]
    return [("", _bars(bars, "Cold start, median", "seconds"))]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


_DRAWN = {
    "cold_start": _cold_start,
    "engine": _engine,
    "log_overhead": _log_overhead,
    "memory": _memory,
    "peers": _peers,
    "serve": _serve,
}
