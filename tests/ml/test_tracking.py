"""A training's run in W&B: curves, tables, final figures; silence without a project."""

import json

import pytest

from ml.tracking import Tracker, TrackingError


def test_a_run_gets_curves_tables_and_figures(wandb_server, wandb_as, tmp_path):
    with wandb_as("trainer"):
        tracker = Tracker.start("reviews", "training", {"seed": 3}, tmp_path / "run")
        tracker.log({"train/loss": 0.7, "train/step": 10})
        tracker.log({"train/loss": 0.4, "train/step": 20})
        tracker.log_table("validation/confusion", ["truth", "negative"], [("negative", 7)])
        tracker.summarize({"temperature": 1.5})
        tracker.finish()
    (run,) = wandb_server.runs(project="reviews", job_type="training")
    assert (run.state, run.config_values) == ("finished", {"seed": 3})
    rows = wandb_server.rows(run)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [0.7, 0.4]
    assert run.summary_values["temperature"] == 1.5
    (table,) = [
        json.loads(content)
        for name, content in wandb_server.run_files(run.path).items()
        if name.endswith("table.json")
    ]
    assert (table["columns"], table["data"]) == (["truth", "negative"], [["negative", 7]])


def test_a_failed_training_is_a_failed_run(wandb_server, wandb_as, tmp_path):
    with wandb_as("trainer"):
        Tracker.start("reviews", "training", {}, tmp_path / "run").finish(exit_code=1)
    (run,) = wandb_server.runs()
    assert (run.state, run.exit_code) == ("failed", 1)


def test_without_a_key_the_run_is_kept_for_later(wandb_server, wandb_as, tmp_path):
    with wandb_as("trainer", WANDB_API_KEY=None):
        tracker = Tracker.start("reviews", "training", {}, tmp_path / "run")
        tracker.log({"train/loss": 0.7})
        tracker.finish()
    assert wandb_server.runs() == []
    assert list((tmp_path / "run").rglob("*.wandb"))


def test_a_refused_key_is_told_in_one_line(wandb_as, tmp_path):
    with (
        wandb_as("trainer", WANDB_API_KEY="wrong" * 8),
        pytest.raises(TrackingError, match="no W&B run in reviews: ") as caught,
    ):
        Tracker.start("reviews", "training", {}, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_without_a_project_nothing_happens(tmp_path):
    tracker = Tracker.start(None, "training", {}, tmp_path / "run")
    tracker.log({"train/loss": 0.7})
    tracker.log_table("table", ["a"], [(1,)])
    tracker.summarize({"a": 1})
    tracker.finish()
    assert not (tmp_path / "run").exists()
