"""`serve`, end to end: the real server with the embedded model, the engine alone, two seconds of load."""

import argparse
import json

import pytest

from benchmarks import serve

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_it_measures_the_server_against_the_engine(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    target = tmp_path / "serve.json"
    options = "--mix short --clients 2 --loads 0.3 --seconds 2 --rounds 1 --texts 6 --no-log --json"
    arguments = parser.parse_args([*options.split(), str(target)])
    assert serve.run(arguments) == 0
    rows = {row["what"]: row for row in json.loads(target.read_text("utf-8"))["rows"]}
    closed = rows["log off, 2 clients"]
    assert closed["1/s"] > 0
    assert 0 < closed["p50 ms"] <= closed["p95 ms"] <= closed["p99 ms"]
    assert 0 < closed["to the engine"] < 2
    assert max(row["to the engine"] for what, row in rows.items() if "alone" in what) == 1
    assert rows["log off, open at 30% of the most"]["failed"] == 0
    assert "| log off, 2 clients |" in capsys.readouterr().out.replace("| short ", "")
