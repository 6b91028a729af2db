"""The report over stored inferences: what changed is named, what did not is not, and nothing undefined breaks it."""

import gzip
import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from app.monitoring.__main__ import main

START = datetime(2026, 5, 1, tzinfo=UTC)
SIGNALS = ["label", "language", "confidence", "tokens", "unknown_share", "familiar_pairs"]


def rows(count: int, seed: int, start: datetime = START, **changes):
    generator = random.Random(seed)
    for index in range(count):
        positive = generator.random()
        yield {
            "id": f"{seed}-{index}",
            "time": (start + timedelta(minutes=index)).isoformat(timespec="milliseconds"),
            "text": "The film was fine and so was the cast.",
            "confidence_negative": 1 - positive,
            "confidence_positive": positive,
            "tokens": int(generator.lognormvariate(5, 0.6)) + 1,
            "unknown_tokens": 0,
            "familiar_pairs": generator.gauss(0.43, 0.05),
            "queue_ms": 1.0,
            "inference_ms": 20.0,
        } | {name: value(generator) if callable(value) else value for name, value in changes.items()}


@pytest.fixture
def report(tmp_path, capsys):
    """`report(rows, …)`: the exit code and the report as JSON, by signal."""

    def run(*spans, options=()):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for span in spans for row in span))
        code = main(["drift", str(path), "--json", *options])
        found = capsys.readouterr()
        return code, {entry["signal"]: entry for entry in json.loads(found.out)} if found.out else found.err

    return run


def test_rows_of_one_kind_have_not_drifted(report):
    code, found = report(rows(600, 1), rows(600, 2, START + timedelta(days=1)))
    assert code == 0
    assert list(found) == SIGNALS
    assert not any(entry["drifted"] for entry in found.values())
    assert found["tokens"]["rows"] == [600, 600]


@pytest.mark.parametrize(
    ("changes", "signal"),
    [
        ({"tokens": lambda generator: int(generator.lognormvariate(3, 0.5)) + 1}, "tokens"),
        ({"familiar_pairs": lambda generator: generator.gauss(0.3, 0.05)}, "familiar_pairs"),
        ({"confidence_positive": 0.95, "confidence_negative": 0.05}, "confidence"),
        ({"confidence_positive": 0.95, "confidence_negative": 0.05}, "label"),
        ({"text": "Фильм мне очень понравился."}, "language"),
        ({"unknown_tokens": 5}, "unknown_share"),
    ],
)
def test_what_changed_is_named(report, changes, signal):
    code, found = report(rows(300, 1), rows(300, 2, START + timedelta(days=1), **changes))
    assert code == 1
    assert found[signal]["drifted"]
    assert found[signal]["index"] > 0.1


def test_a_sure_but_tiny_change_is_no_drift(report):
    shifted = rows(
        4000,
        2,
        START + timedelta(days=10),
        tokens=lambda generator: int(generator.lognormvariate(5.07, 0.6)) + 1,
    )
    code, found = report(rows(4000, 1), shifted)
    assert found["tokens"]["chance"] < 0.01
    assert not found["tokens"]["drifted"]
    assert code == 0


def test_the_border_can_be_given(report):
    code, found = report(
        rows(100, 1), rows(200, 2, START + timedelta(days=1)), options=["--split", "2026-05-02"]
    )
    assert code == 0
    assert found["label"]["rows"] == [100, 200]


def test_undefined_figures_are_null_with_a_reason(report):
    bare = ({"id": str(index), "time": START.isoformat(), "value": 3.5} for index in range(100))
    code, found = report(bare)
    assert code == 0
    assert all(
        entry["index"] is None and entry["reason"] == "not logged by this model" for entry in found.values()
    )
    code, found = report(rows(10, 1), rows(10, 2))
    assert code == 0
    assert found["tokens"]["reason"] == "fewer than 30 rows"


def test_a_text_without_tokens_stops_nothing(report):
    code, found = report(rows(50, 1, tokens=0), rows(50, 2, tokens=0))
    assert code == 0
    assert found["unknown_share"]["index"] is None


def test_rows_that_came_twice_count_once(report):
    code, found = report(rows(100, 1), rows(100, 1), rows(100, 2))
    assert code == 0
    assert sum(found["label"]["rows"]) == 200


def test_feedback_and_windows_are_no_predictions(report):
    others = [
        {
            "id": "1-0-feedback",
            "kind": "feedback",
            "prediction_id": "1-0",
            "truth": "positive",
            "time": START.isoformat(),
        },
        {"window/start": 1.0, "window/predictions": 5},
    ]
    _, found = report(rows(100, 1), others)
    assert sum(found["label"]["rows"]) == 100


@pytest.mark.parametrize("line", ["no json", "[1]", '"text"'])
def test_a_broken_file_is_told_with_its_line(tmp_path, capsys, line):
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write('{"id": "1"}\n' + line + "\n")
    assert main(["drift", str(path)]) == 1
    assert "rows.jsonl.gz: line 2" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--split", "yesterday-ish"], []])
def test_wrong_use_is_one_line(report, options):
    code, error = report([] if not options else rows(5, 1), options=options)
    assert code == 1
    assert len(error.strip().splitlines()) == 1


def test_the_table_names_what_drifted(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    spans = [*rows(200, 1), *rows(200, 2, START + timedelta(days=1), tokens=5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in spans))
    assert main(["drift", str(path)]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| tokens"))
    assert line.endswith("| **drifted** |")


def test_rows_are_read_from_the_runs_of_a_project(wandb_server, wandb_as, capsys, tmp_path):
    stored = [*rows(40, 1), *rows(40, 2, START + timedelta(days=1), tokens=5)]
    with wandb_as("instance") as wandb:
        with wandb.init(project="reviews", entity=wandb_server.entity, job_type="inferences") as run:
            for row in stored[:50]:
                run.log(row)
            batch = tmp_path / "inferences-0001.jsonl.gz"
            with gzip.open(batch, "wt") as file:
                file.writelines(json.dumps(row) + "\n" for row in stored[40:])
            artifact = wandb.Artifact(f"inferences-{run.id}", type="inferences")
            artifact.add_file(str(batch))
            run.log_artifact(artifact).wait()
        with wandb.init(project="reviews", entity=wandb_server.entity, job_type="train") as run:
            run.log({"id": "none", "time": "none"})
    with wandb_as("people"):
        code = main(["drift", "--project", "reviews", "--entity", wandb_server.entity, "--json"])
        found = {entry["signal"]: entry for entry in json.loads(capsys.readouterr().out)}
        assert main(["drift", "--project", "unheard-of", "--entity", wandb_server.entity]) == 1
    assert found["tokens"]["rows"] == [40, 40]
    assert (code, found["tokens"]["drifted"]) == (1, True)
