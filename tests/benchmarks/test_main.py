"""Each benchmark is one command that tells what it does, and is shown in the documentation."""

import argparse
import importlib
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_tells_its_command_line(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert BENCHMARKS[name] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["cold_start", "engine", "log_overhead", "memory", "peers", "serve"])
def test_a_benchmark_needs_no_argument_and_writes_its_figures_on_demand(name):
    parser = argparse.ArgumentParser()
    importlib.import_module(f"benchmarks.{name}").add_arguments(parser)
    assert parser.parse_args([]).json is None


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_documentation_shows_the_command(name):
    pages = (page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert any(f"python -m benchmarks {name}" in page for page in pages)
