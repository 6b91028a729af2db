"""What the other benchmarks make of their measurements, and the pictures of it."""

import argparse
import json

import pytest

from benchmarks import cold_start, memory, plot
from benchmarks.load import Load
from benchmarks.log_overhead import overhead

MACHINE = {"processor": "a processor", "cores": 2, "load_average": 0.1}


def test_the_cold_start_is_held_to_what_cannot_be_avoided():
    rows = {
        row["part"]: row
        for row in cold_start.rows(
            {
                cold_start.OURS: [1.0, 1.4, 1.2],
                cold_start.UNAVOIDABLE: [1.0, 1.0, 1.0],
                cold_start.TENSORFLOW: [12.0] * 3,
            }
        )
    }
    assert rows[cold_start.OURS]["seconds"] == 1.2
    assert rows[cold_start.OURS]["cold start is ×"] is None
    assert rows[cold_start.UNAVOIDABLE]["cold start is ×"] == pytest.approx(1.2)
    assert rows[cold_start.TENSORFLOW]["cold start is ×"] == pytest.approx(0.1)


def test_the_cost_of_the_log_is_the_median_of_the_rounds():
    off = [Load(1.0, [0.010] * 100), Load(1.0, [0.010] * 200), Load(1.0, [0.010] * 100)]
    on = [Load(1.0, [0.011] * 98), Load(1.0, [0.011] * 100), Load(1.0, [0.011] * 99)]
    row = overhead({"off": off, "on": on}, {"off": off, "on": on})
    assert row["ratio"] == pytest.approx(0.98)
    assert row["added ms"] == pytest.approx(1.0)
    assert row["failed"] == 0


def test_requests_for_memory_hold_one_review_in_fifty_and_the_longest_first():
    found = memory.requests()
    lengths = [len(request) for request in found]
    assert lengths[0] == max(lengths)
    assert sum(length > 1000 for length in lengths[1:]) <= len(found) // 40


ROWS = {
    "serve": [
        {"mix": "imdb", "what": "engine alone, 1 at a time", "to the engine": 1.0},
        {"mix": "imdb", "what": "log off, 16 clients", "to the engine": 0.97},
        {"mix": "imdb", "what": "log on, open at 50% of the most"},
    ],
    "peers": [
        {"mix": "short", "server": "marquee", "1/s at 1": 90.0, "1/s at 64": 300.0},
        {"mix": "short", "server": "ray", "1/s at 1": None, "1/s at 64": None},
    ],
    "engine": [
        {"model": "6×768", "engine": "a", "batch": 1, "tokens": 16, "share of the limit": 0.5},
        {"model": "6×768", "engine": "a", "batch": 1, "tokens": 64, "share of the limit": 0.6},
        {"model": "6×768", "engine": "b", "limit": "not measured: no such thing"},
    ],
    "memory": [
        {"requests": 5000, "MB": 200.0, "to the first": 1.0},
        {"requests": 9000, "MB": 204.0, "to the first": 1.02},
        {"server": "6×768 int8", "requests": 200, "MB": 300.0},
    ],
    "log_overhead": [{"model": "embedded", "mix": "short", "ratio": 0.98}],
    "cold_start": [
        {"part": "interpreter", "seconds": 0.03},
        {"part": "process start to first answer", "seconds": 1.2},
    ],
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_figures_are_drawn(name, tmp_path):
    pytest.importorskip("matplotlib")
    (picture,) = plot.draw({"benchmark": name, "rows": ROWS[name], "machine": MACHINE}, tmp_path, "svg")
    assert picture.name.startswith(name)
    assert picture.read_text("utf-8").count("<path") > 3


def test_each_model_has_its_picture(tmp_path):
    pytest.importorskip("matplotlib")
    figures = {
        "benchmark": "peers",
        "rows": ROWS["peers"],
        "machine": MACHINE,
        "arguments": {"model": "full"},
    }
    assert [path.name for path in plot.draw(figures, tmp_path, "svg")] == ["peers_full_short.svg"]


def test_what_has_no_picture_is_refused():
    with pytest.raises(SystemExit, match="agreement has no picture"):
        plot.draw({"benchmark": "agreement", "rows": [], "machine": MACHINE}, None, "svg")


def test_a_json_file_is_read(tmp_path, capsys):
    file = tmp_path / "figures.json"
    file.write_text(json.dumps({"benchmark": "memory", "rows": ROWS["memory"], "machine": MACHINE}), "utf-8")

    arguments = argparse.Namespace(figures=[file], to=tmp_path / "out", format="png")
    assert plot.run(arguments) == 0
    assert "memory.png" in capsys.readouterr().out
    assert (tmp_path / "out" / "memory.png").stat().st_size > 1000
