"""The inference log with the real client and the loopback W&B: what arrives, and what is kept when it does not.

What goes wrong while it runs is in tests/faults.
"""

import asyncio
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core.config import Settings
from app.services import inference_delivery, wandb_run
from app.services.artifact import Manifest, ModelFiles, ModelVersion
from app.services.inference_history import read_inferences
from app.services.inference_log import InferenceLog
from app.services.inference_run import RunLostError
from tests.fixtures_wandb import ClientAs, EnvironmentOf
from tests.wandb_server import DEFAULT_KEY, Run, WandbServer

MakeLog = Callable[..., InferenceLog]

ROOT = Path(__file__).resolve().parents[3]
ARTIFACT = "acme/reviews/sentiment:v0"
MODEL = ModelFiles(
    Path("model"), ModelVersion("sentiment", "v0", "d" * 32), "wandb", Manifest(), True, ARTIFACT
)

pytestmark = pytest.mark.timeout(300)


def slow(status: int) -> Any:
    """A status that is met like the others of its test: not for the quick run."""
    return pytest.param(status, marks=pytest.mark.slow)


@pytest.fixture
def settings(wandb_server: WandbServer, tmp_path: Path) -> Callable[..., Settings]:
    """`settings(log_text="none")`: the configuration of a server that logs to the loopback W&B."""
    usual: dict[str, Any] = {
        "project_name": "reviews",
        "wandb_entity": "acme",
        "wandb_api_key": wandb_server.api_key,
        "wandb_base_url": wandb_server.url,
        "state_dir": tmp_path / "state",
        "inference_log_start_seconds": 60,
        "inference_log_confirm_seconds": 1,
        "k_revision": "sentiment-00007",
    }
    return lambda **changes: Settings(_env_file=None, **(usual | changes))


@pytest.fixture
def make_log(settings: Callable[..., Settings]) -> Iterator[MakeLog]:
    """`make_log()`: a started log of the real kind. Its processes are gone after the test."""
    before = set(psutil.Process().children(recursive=True))
    logs = []

    def make(**changes: Any) -> InferenceLog:
        log = InferenceLog(settings(**changes))
        log.start(MODEL)
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.stop(0.1)
    gone = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=10)
    assert not gone[1]


def row(number: int) -> dict[str, Any]:
    """What the service gives for one inference."""
    return {
        "id": f"row-{number}",
        "time": "2026-01-02T03:04:05.678+00:00",
        "sentiment": "Positive",
        "confidence_negative": 0.125,
        "confidence_positive": 0.875,
        "text": "a good film",
        "characters": 11,
        "tokens": 5,
        "windows": 1,
        "truncated": False,
        "unknown_tokens": 0,
        "queue_ms": 0.25,
        "inference_ms": 12.5,
        "batch_size": 1,
        "status": 200,
        "model_version": "v0",
        "model_digest": "d" * 32,
        "request_id": "request",
    }


def record(log: InferenceLog, numbers: range) -> None:
    for number in numbers:
        log.record(row(number))


def given(log: InferenceLog, count: int) -> None:
    """Wait until W&B's client has so many rows."""
    until(lambda: log.health()["confirmed"] + log.health()["in_flight"] >= count)


def confirmed(log: InferenceLog, count: int) -> None:
    until(lambda: log.health()["confirmed"] >= count)


def left_in(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("state/spool/*/rows-*.jsonl"))


def until(condition: Callable[[], Any], seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def arrived(runs: list[Run]) -> list[str]:
    return [entry["id"] for run in runs for entry in run.rows]


def unique(server: WandbServer) -> list[str]:
    """The ids that arrived, each once: what was sent again counts once."""
    return sorted(set(arrived(server.runs())), key=lambda name: int(name[4:]))


def ids(numbers: range) -> list[str]:
    return [f"row-{number}" for number in numbers]


def core_of(log: InferenceLog) -> psutil.Process:
    """The client's service process, which is a child of our child.

    Where pytest is the first process of a container, what earlier tests have orphaned is its own child.
    """
    (core,) = [
        process
        for process in psutil.Process().children(recursive=True)
        if "wandb-core" in process.name() and process.ppid() != os.getpid()
    ]
    return core


def test_rows_arrive_once_with_all_columns(
    wandb_server: WandbServer, make_log: MakeLog, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"weights"})
    log = make_log()
    log.health()
    assert not (tmp_path / "state").exists()
    record(log, range(450))
    log.count_error("invalid-input")
    given(log, 450)
    assert log.health()["state"] == "ok"
    (run,) = wandb_server.runs()
    assert log.health()["run"]["path"] == run.path
    assert run.name in log.health()["run"]["url"]
    until(lambda: wandb_server.lineage(run.path).used)
    log.stop(60)

    (run,) = wandb_server.runs(project="reviews", job_type="inferences", group="sentiment-00007")
    assert (run.state, run.display_name) == ("finished", log.instance)
    assert run.config_values["model_digest"] == "d" * 32
    assert run.config_values["instance"] == log.instance
    assert wandb_server.lineage(run.path).used == (ARTIFACT,)
    assert arrived([run]) == ids(range(450))
    logged = {name: value for name, value in run.rows[7].items() if not name.startswith("_")}
    assert logged == row(7) | {"instance": log.instance, "sequence": 7}
    assert (run.summary_values["received"], run.summary_values["errors/invalid-input"]) == (450, 1)
    assert log.health()["dropped"] == {}
    assert not wandb_server.unknown_fields
    # Nothing about the machine, and nothing left on the disk.
    assert set(run.files) <= {"config.yaml", "wandb-summary.json"}
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []
    output = capfd.readouterr()
    assert output.out == ""
    assert DEFAULT_KEY not in output.err


def test_windows_and_alerts_reach_wandb(wandb_server: WandbServer, make_log: MakeLog) -> None:
    log = make_log()
    log.alert("drift began", "the share of unknown tokens is 0.31", "WARN")
    log.record(row(0))
    log.record_window({"window/volume": 1, "window/label": "Positive"})
    until(lambda: wandb_server.runs() and wandb_server.runs()[0].alerts)
    log.stop(60)
    (run,) = wandb_server.runs()
    (alert,) = run.alerts
    assert alert["title"] == "drift began"
    assert alert["severity"] == "WARN"
    (window,) = (entry for entry in run.rows if "window/volume" in entry)
    assert (window["window/volume"], window["window/instance"]) == (1, log.instance)


def test_a_reply_that_waits_for_its_row_waits_for_seconds_only(make_log: MakeLog) -> None:
    log = make_log(inference_log_wait_seconds=60, request_timeout_seconds=200)
    log.record(row(0))
    assert asyncio.run(log.settle())
    log.record(row(1))
    started = time.monotonic()
    assert asyncio.run(log.settle())
    # By itself the client sends every 15 seconds.
    assert time.monotonic() - started < 10
    # The counters follow the spool by a moment: its position is written to disk in between.
    until(lambda: log.health()["confirmed"] == 2, 10)


@pytest.mark.parametrize("status", [401, slow(404), slow(429), slow(500), None])
def test_a_run_that_wandb_does_not_open_harms_nobody(
    wandb_server: WandbServer, make_log: MakeLog, tmp_path: Path, status: int | None
) -> None:
    fault = wandb_server.set_fault("graphql", operation="UpsertBucket", status=status, hang=status is None)
    log = make_log(inference_log_start_seconds=1)
    record(log, range(5))
    until(lambda: log.health()["state"] == "degraded")
    assert fault.hits
    assert "no run could be opened" in log.health()["reason"]
    assert DEFAULT_KEY not in log.health()["reason"]
    assert log.health()["waiting"] == 5
    log.stop(8)
    assert (log.health()["dropped"], log.health()["waiting"]) == ({}, 5)
    assert arrived(wandb_server.runs()) == []
    assert left_in(tmp_path) == 5
    assert list((tmp_path / "state").glob("wandb/*")) == []


def test_a_server_that_is_down_harms_nobody(make_log: MakeLog) -> None:
    log = make_log(wandb_base_url="http://127.0.0.1:1", inference_log_start_seconds=1)
    record(log, range(5))
    started = time.monotonic()
    log.stop(4)
    assert time.monotonic() - started < 10
    assert (log.health()["dropped"], log.health()["waiting"]) == ({}, 5)


@pytest.mark.parametrize("status", [slow(401), 404])
def test_rows_that_are_refused_are_sent_by_the_next_start(
    wandb_server: WandbServer, make_log: MakeLog, tmp_path: Path, status: int
) -> None:
    wandb_server.set_fault("file_stream", status=status)
    log = make_log()
    record(log, range(20))
    given(log, 20)
    log.stop(8)
    assert arrived(wandb_server.runs()) == []
    assert (log.health()["dropped"], log.health()["waiting"]) == ({}, 20)
    assert left_in(tmp_path) == 20
    wandb_server.clear_faults()
    later = make_log()
    until(lambda: later.health()["recovered"]["confirmed"] == 20)
    later.stop(60)
    assert arrived(wandb_server.runs()) == ids(range(20))
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("status", [slow(429), 500])
def test_rows_outlive_an_outage(wandb_server: WandbServer, make_log: MakeLog, status: int) -> None:
    fault = wandb_server.set_fault("file_stream", status=status, times=2)
    log = make_log()
    record(log, range(20))
    given(log, 20)
    log.stop(60)
    assert fault.hits == 2
    assert arrived(wandb_server.runs()) == ids(range(20))
    assert log.health()["dropped"] == {}


def test_stopping_is_bounded_when_the_stream_hangs(wandb_server: WandbServer, make_log: MakeLog) -> None:
    wandb_server.set_fault("file_stream", hang=True)
    log = make_log()
    record(log, range(20))
    given(log, 20)
    started = time.monotonic()
    log.stop(3)
    assert time.monotonic() - started < 6
    assert (log.health()["dropped"], log.health()["waiting"]) == ({}, 20)
    assert arrived(wandb_server.runs()) == []


def test_rows_go_to_a_new_run_when_the_clients_service_dies(
    wandb_server: WandbServer, make_log: MakeLog
) -> None:
    log = make_log()
    record(log, range(20))
    given(log, 20)
    core_of(log).kill()
    record(log, range(20, 40))
    until(lambda: len(wandb_server.runs()) == 2)
    given(log, 40)
    log.stop(60)
    assert unique(wandb_server) == ids(range(40))
    assert wandb_server.runs()[-1].state == "finished"
    assert log.health()["dropped"] == {}


def test_a_full_run_is_followed_by_another_one(
    wandb_server: WandbServer, make_log: MakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_delivery, "MAX_ROWS", 200)
    log = make_log()
    for number in range(3):
        record(log, range(200 * number, 200 * number + 200))
        given(log, 200 * number + 200)
    log.stop(100)
    assert [run.state for run in wandb_server.runs()] == ["finished"] * 3
    assert arrived(wandb_server.runs()) == ids(range(600))


def test_many_rows_arrive_in_a_file_of_the_run(
    wandb_server: WandbServer, make_log: MakeLog, wandb_as: ClientAs, tmp_path: Path
) -> None:
    log = make_log(inference_log_rows_per_minute=100, inference_log_batch_seconds=1)
    record(log, range(2_500))
    confirmed(log, 2_500)
    log.stop(60)
    (run,) = wandb_server.runs()
    assert len(run.rows) <= 100
    with wandb_as("reader") as wandb:
        assert [found["id"] for found in read_inferences(wandb.Api(), "acme/reviews")] == ids(range(2_500))
        (artifact,) = wandb.Api().run(run.path).logged_artifacts()
        folder = Path(artifact.download(root=str(tmp_path / "read")))
        assert artifact.type == "inferences"
    (file,) = folder.glob("*.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert [entry["id"] for entry in rows] == ids(range(2_500))
    assert rows[7] == row(7) | {"instance": log.instance, "sequence": 7}
    assert not wandb_server.unknown_fields
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []


def test_what_wandb_has_is_read_by_id_where_its_counts_disagree(
    wandb_server: WandbServer, make_log: MakeLog
) -> None:
    log = make_log(inference_log_confirm_seconds=30)
    record(log, range(20))
    given(log, 20)
    (run,) = wandb_server.runs()
    until(lambda: len(wandb_server.runs()[0].rows) == 20)
    wandb_server.remove_row(run.path, 7)
    log.stop(8)
    assert arrived(wandb_server.runs()) == ids(range(7)) + ids(range(8, 20))
    assert log.health()["waiting"] > 0
    later = make_log()
    until(lambda: later.health()["recovered"]["confirmed"])
    later.stop(60)
    assert unique(wandb_server) == ids(range(20))


def test_an_offline_run_is_synced_later(
    wandb_server: WandbServer, make_log: MakeLog, tmp_path: Path, wandb_environment: EnvironmentOf
) -> None:
    log = make_log(wandb_api_key=None)
    record(log, range(20))
    given(log, 20)
    folder = log.health()["run"]["folder"]
    assert log.health()["state"] == "offline"
    log.stop(60)
    assert Path(folder).is_relative_to(tmp_path / "state")
    assert wandb_server.calls() == []
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", folder],
        env={**os.environ, **wandb_environment("laptop")},
        check=True,
        capture_output=True,
        timeout=100,
    )
    (run,) = wandb_server.runs(project="reviews", job_type="inferences")
    assert arrived([run]) == ids(range(20))


def test_a_killed_server_leaves_its_rows_to_the_next(
    wandb_server: WandbServer, make_log: MakeLog, tmp_path: Path
) -> None:
    script = f"""
import os, signal, time
from app.core.config import Settings
from app.services.inference_log import InferenceLog
from tests.app.services.test_wandb_run import MODEL, record
log = InferenceLog(Settings(_env_file=None, project_name="reviews", wandb_entity="acme",
    state_dir={str(tmp_path / "state")!r}, wandb_api_key={wandb_server.api_key!r},
    wandb_base_url={wandb_server.url!r}, inference_log_start_seconds=60))
log.start(MODEL)
record(log, range(20))
while log.health()["in_flight"] < 20:
    time.sleep(0.02)
record(log, range(20, 25))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=100, check=False)
    assert ended.returncode == -signal.SIGKILL
    # The client's process lives on and finishes the run, with what it had been given.
    until(lambda: [run.state for run in wandb_server.runs()] == ["finished"])
    later = make_log()
    until(lambda: later.health()["recovered"]["confirmed"] == 25)
    later.stop(60)
    assert unique(wandb_server) == ids(range(25))
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []


def test_a_process_that_does_not_come_up_is_told_about(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.services.inference_run import run_request

    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RunLostError, match="ended"):
        wandb_run.WandbRun(run_request(settings(), MODEL, "instance", 1), lambda: time.monotonic() + 10)


def test_a_folder_that_cannot_be_written_harms_nobody(make_log: MakeLog, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = make_log(state_dir=tmp_path / "file" / "state")
    record(log, range(5))
    until(lambda: log.health()["state"] == "degraded")
    assert "the disk does not take rows" in log.health()["reason"]
    assert log.health()["spool"]["in_memory"] == 5
    confirmed(log, 5)
    log.stop(8)
    assert log.health()["dropped"] == {}
