"""Runs through the real client: what it logs arrives, and what arrived is read back."""

import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_wandb import ClientAs, EnvironmentOf
from tests.wandb_server import WandbServer


def test_a_run_arrives_whole(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        run = wandb.init(
            project="reviews",
            job_type="inferences",
            group="revision-7",
            name="one",
            tags=["a"],
            config={"seed": 3},
        )
        for step in range(3):
            run.log({"confidence": step / 4, "label": "positive"})
        run.summary["best"] = 9
        assert wandb_server.run(run.id).state == "running"
        run.finish()

    (arrived,) = wandb_server.runs(job_type="inferences", group="revision-7")
    assert arrived.path == run.path
    assert (arrived.display_name, arrived.tags, arrived.state, arrived.exit_code) == (
        "one",
        ["a"],
        "finished",
        0,
    )
    assert arrived.config_values == {"seed": 3}
    assert arrived.summary_values["best"] == 9
    assert [row["confidence"] for row in wandb_server.rows(run.id)] == [0, 0.25, 0.5]
    assert arrived.last_step == 2
    assert wandb_server.runs(job_type="training") == []
    assert not wandb_server.unknown_fields


def test_an_alert_arrives(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb, wandb.init(project="reviews") as run:
        run.alert("drift began", "label share", level="WARN", wait_duration=1)
    assert wandb_server.run(run.id).alerts == [
        {"title": "drift began", "text": "label share", "severity": "WARN", "waitDuration": 1_000}
    ]
    assert not wandb_server.unknown_fields


def test_a_run_that_failed_says_so(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        run = wandb.init(project="reviews")
        run.finish(exit_code=3)
    assert (wandb_server.run(run.id).state, wandb_server.run(run.id).exit_code) == ("failed", 3)


def test_a_run_is_read_back(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        run = wandb.init(project="reviews", job_type="inferences", config={"version": "v7"})
        for step in range(1500):
            run.log({"p": step, "loss": float("nan") if step == 1 else 0.5})
            if step % 500 == 0:
                run.log({"window": step})
        run.finish()
        run_id = run.id

        api = wandb.Api()
        stored = api.run(f"acme/reviews/{run_id}")
        assert (stored.state, stored.config, stored.job_type) == ("finished", {"version": "v7"}, "inferences")
        assert stored.summary["p"] == 1499
        assert stored.lastHistoryStep == 1502
        rows = list(stored.scan_history(use_cache=False))
        assert [row["p"] for row in rows if "p" in row] == list(range(1500))
        assert math.isnan(float(rows[2]["loss"]))
        assert [row["window"] for row in stored.scan_history(keys=["window"], use_cache=False)] == [
            0,
            500,
            1000,
        ]
        tail = list(stored.scan_history(min_step=1500, use_cache=False))
        assert [row["_step"] for row in tail] == [1500, 1501, 1502]
        assert len(stored.history(samples=100, pandas=False)) == 100
        assert stored.history(keys=["p"], samples=10, pandas=False)[0]["p"] == 0
        with pytest.raises(Exception, match="Could not find run"):
            api.run("acme/reviews/unknown").state  # noqa: B018
    assert not wandb_server.unknown_fields


def test_runs_are_filtered_and_ordered(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        for number, (job, group) in enumerate([("training", "a"), ("inferences", "a"), ("inferences", "b")]):
            run = wandb.init(
                project="reviews", name=f"run-{number}", job_type=job, group=group, config={"n": number}
            )
            run.log({"score": -number})
            run.finish()
        api = wandb.Api()

        def names(filters: dict[str, Any], order: str = "+created_at") -> list[str]:
            return [run.display_name for run in api.runs("acme/reviews", filters=filters, order=order)]

        assert names({}) == ["run-0", "run-1", "run-2"]
        assert names({"jobType": "inferences"}) == ["run-1", "run-2"]
        assert names({"$and": [{"jobType": "inferences"}, {"group": "b"}]}) == ["run-2"]
        assert names({"config.n": {"$lt": 2}, "state": "finished"}) == ["run-0", "run-1"]
        assert names({"summary_metrics.score": -1}) == ["run-1"]
        assert names({}, order="-created_at") == ["run-2", "run-1", "run-0"]
        assert names({}, order="+summary_metrics.score") == ["run-2", "run-1", "run-0"]
        assert len(api.runs("acme/reviews", filters={"group": "a"})) == 2
        assert len(list(api.runs("acme/reviews", per_page=1))) == 3
        with pytest.raises(Exception, match="unknown field jobTipe"):
            names({"jobTipe": "inferences"})


def test_tables_images_and_plots_arrive_as_files(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    image = tmp_path / "dot.png"
    with wandb_as() as wandb:
        from PIL import Image

        Image.new("RGB", (4, 4)).save(image)
        run = wandb.init(project="reviews")
        table = wandb.Table(columns=["text", "p"], data=[["good", 0.9], ["bad", 0.1]])
        run.log({"table": table, "picture": wandb.Image(str(image))})
        counts = wandb.Table(columns=["label", "count"], data=[["positive", 3]])
        run.log({"bars": wandb.plot.bar(table=counts, label="label", value="count", title="labels")})
        run.finish()
        artifact = wandb.Api().artifact(f"acme/reviews/run-{run.id}-table:latest")
        assert artifact.get("table").data == [["good", 0.9], ["bad", 0.1]]

    files = wandb_server.run_files(run.id)
    row = wandb_server.rows(run.id)[0]
    assert row["table"]["_type"] == "table-file"
    assert row["table"]["path"] in files
    assert files[row["picture"]["path"]] == image.read_bytes()
    assert any(name.startswith("media/table/bars_table") for name in files)
    assert {"config.yaml", "wandb-summary.json"} <= set(files)
    assert not wandb_server.unknown_fields


def test_files_of_a_run_are_listed_and_downloaded(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    with wandb_as() as wandb:
        run = wandb.init(project="reviews")
        run.save(str(tmp_path / "notes.txt"), base_path=str(tmp_path))
        run.finish()
        stored = wandb.Api().run(run.path)
        assert "notes.txt" in [file.name for file in stored.files()]
        stored.file("notes.txt").download(root=str(tmp_path / "back")).close()
    assert (tmp_path / "back" / "notes.txt").read_text() == "kept"
    assert not wandb_server.unknown_fields


def test_a_resumed_run_goes_on_after_its_last_row(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        first = wandb.init(project="reviews", id="again")
        first.log({"n": 0})
        first.finish()
        second = wandb.init(project="reviews", id="again", resume="must")
        second.log({"n": 1})
        second.finish()
        with pytest.raises(wandb.errors.UsageError):
            wandb.init(project="reviews", id="never-was", resume="must")
    rows = wandb_server.rows("again")
    assert [(row["_step"], row["n"]) for row in rows] == [(0, 0), (1, 1)]
    assert not wandb_server.unknown_fields


def test_a_run_from_the_api_can_be_changed_and_deleted(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        run = wandb.init(project="reviews", config={"a": 1})
        run.finish()
        stored = wandb.Api().run(run.path)
        stored.config["b"] = 2
        stored.tags.append("kept")
        stored.update()
        changed = wandb_server.run(run.id)
        assert (changed.config_values, changed.tags, changed.state) == (
            {"a": 1, "b": 2},
            ["kept"],
            "finished",
        )
        stored.delete()
    assert wandb_server.runs() == []


def test_stopping_a_run_reaches_its_client(
    wandb_server: WandbServer, wandb_as: ClientAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()
    with wandb_as() as wandb:
        from wandb.sdk.lib.run_stopping import RunStopChecker

        # The client looks every 15 seconds; waiting that long would show nothing more.
        monkeypatch.setattr(RunStopChecker.__init__, "__kwdefaults__", {"poll_interval": 0.2})
        settings = wandb.Settings(stop_fn=stopped.set, x_file_stream_transmit_interval=1)
        run = wandb.init(project="reviews", settings=settings)
        wandb_server.stop_run(run.path)
        run.log({"n": 0})
        assert stopped.wait(20)
        run.finish()


def test_an_offline_run_is_synced_later(
    wandb_server: WandbServer, wandb_environment: EnvironmentOf, wandb_as: ClientAs
) -> None:
    with wandb_as("server", WANDB_MODE="offline", WANDB_API_KEY=None) as wandb:
        run = wandb.init(project="reviews", entity="acme", job_type="inferences")
        for number in range(20):
            run.log({"n": number})
        folder = Path(run.dir).parent
        run.finish()
    assert wandb_server.runs() == []
    assert wandb_server.calls("graphql") == []

    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--no-skip-online", "--yes", str(folder)],
        env={**os.environ, **wandb_environment("server")},
        check=True,
        capture_output=True,
        timeout=60,
    )
    (synced,) = wandb_server.runs(job_type="inferences")
    assert [row["n"] for row in synced.rows] == list(range(20))
    assert synced.state == "finished"


def test_another_team_is_refused(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb, pytest.raises(wandb.errors.CommError, match="entity stranger not found"):
        wandb.init(project="reviews", entity="stranger")
    assert wandb_server.runs() == []
