"""The inference log in front of a run that does what a test says: queue, counters, order, new runs, and the end."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from app.core.config import Settings
from app.services import inference_writer
from app.services.artifact import Manifest, ModelFiles, ModelVersion
from app.services.inference_log import InferenceLog
from app.services.inference_run import RunLostError, RunRequest

MODEL = ModelFiles(
    Path("model"),
    ModelVersion("sentiment", "v7", "d" * 32),
    "wandb",
    Manifest(),
    True,
    "acme/reviews/sentiment:v7",
)


class FakeRun:
    """A run in memory. `rows` are those that arrived."""

    def __init__(self, backend: "Backend", request: RunRequest, folder: Path) -> None:
        self.backend = backend
        self.request = request
        self.path = f"acme/reviews/{request.run['id']}" if request.online else None
        self.url = f"https://wandb.example/{self.path}" if request.online else None
        self.folder = str(folder)
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.arriving = True
        self.broken_after: int | None = None
        self.ended_by_wandb = False
        self.state = "running"

    def stopped(self) -> bool:
        return self.ended_by_wandb

    def write(self, rows: list[bytes]) -> None:
        self.backend.wait()
        for number, row in enumerate(rows):
            if self.broken_after is not None and len(self.rows) >= self.broken_after:
                raise RunLostError("ConnectionResetError: gone", number)
            if self.arriving:
                self.rows.append(json.loads(row))

    def summarize(self, values: dict[str, Any]) -> None:
        self.backend.wait()
        self.summary |= values

    def stored(self, path: str) -> int | None:
        return next((len(run.rows) for run in self.backend.runs if run.path == path), None)

    def finish(self, seconds: float) -> int | None:
        self.backend.wait()
        self.state = "finished"
        return len(self.rows)

    def kill(self) -> None:
        self.state = "killed" if self.state == "running" else self.state


class Backend:
    """Opens runs; a test says how they behave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[FakeRun] = []
        self.refusals = 0
        self.prepare: Callable[[FakeRun], None] = lambda run: None
        self.going_on = threading.Event()
        self.going_on.set()

    def __call__(self, request: RunRequest, limit: Callable[[], float]) -> FakeRun:
        self.wait()
        if self.refusals:
            self.refusals -= 1
            raise RunLostError("CommError: no")
        folder = self.folder / request.run["id"]
        folder.mkdir(parents=True)
        run = FakeRun(self, request, folder)
        self.prepare(run)
        self.runs.append(run)
        return run

    def wait(self) -> None:
        self.going_on.wait(100)

    def ids(self) -> list[str]:
        return [row["id"] for run in self.runs for row in run.rows]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    made = Backend(tmp_path / "runs")
    yield made
    made.going_on.set()


@pytest.fixture
def make_log(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., InferenceLog]]:
    """`make_log(log_text="none")`: a started log in front of the fake runs."""
    monkeypatch.setattr(inference_writer, "_TICK_SECONDS", 0.05)
    logs: list[InferenceLog] = []

    def make(**changes: Any) -> InferenceLog:
        values: dict[str, Any] = {
            "project_name": "reviews",
            "wandb_entity": "acme",
            "wandb_api_key": "k" * 40,
            "state_dir": tmp_path / "state",
        }
        log = InferenceLog(Settings(_env_file=None, **(values | changes)), backend)
        log.start(MODEL)
        logs.append(log)
        return log

    yield make
    backend.going_on.set()
    for log in logs:
        log.stop(5)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings that are logged during the test."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


def row(number: int, **others: Any) -> dict[str, Any]:
    return {"id": f"row-{number}", "text": "a good film", "confidence_positive": 0.9, "status": 200, **others}


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def balanced(health: dict[str, Any]) -> bool:
    return health["received"] == health["written"] + health["waiting"] + sum(health["dropped"].values())


def test_rows_arrive_once_in_order_with_instance_and_sequence(backend: Backend, make_log: Any) -> None:
    log = make_log()
    assert log.health()["state"] == "idle"
    for number in range(1_000):
        log.record(row(number))
    log.stop(20)
    (run,) = backend.runs
    assert [entry["id"] for entry in run.rows] == [f"row-{number}" for number in range(1_000)]
    assert [entry["sequence"] for entry in run.rows] == list(range(1_000))
    assert {entry["instance"] for entry in run.rows} == {log.instance}
    assert run.state == "finished"
    assert not Path(run.folder).exists()
    assert log.health() == {
        "state": "idle",
        "reason": None,
        "instance": log.instance,
        "run": None,
        "received": 1_000,
        "written": 1_000,
        "waiting": 0,
        "converted": 0,
        "dropped": {},
        "errors": {},
    }


def test_nothing_is_opened_by_anything_but_an_inference(backend: Backend, make_log: Any) -> None:
    log = make_log()
    before = threading.active_count()
    log.health()
    log.count_error("too-large")
    assert threading.active_count() == before
    log.stop(5)
    assert backend.runs == []
    assert log.health()["errors"] == {"too-large": 1}


def test_a_log_that_is_off_does_nothing(backend: Backend, make_log: Any) -> None:
    log = make_log(inference_log=False)
    log.record(row(0))
    log.stop(5)
    assert backend.runs == []
    assert log.health()["state"] == "off"
    assert log.health()["received"] == 0


def test_the_run_says_which_model_and_instance_it_is_about(backend: Backend, make_log: Any) -> None:
    log = make_log(k_revision="sentiment-00007-abc", k_service="sentiment", model_loader="onnx")
    log.record(row(0))
    log.stop(20)
    request = backend.runs[0].request
    assert request.online
    assert request.artifact == "acme/reviews/sentiment:v7"
    assert request.run["job_type"] == "inferences"
    assert request.run["group"] == "sentiment-00007-abc"
    assert request.run["config"] | {"app_version": "1"} == {
        "model": "sentiment",
        "model_version": "v7",
        "model_digest": "d" * 32,
        "model_source": "wandb",
        "artifact": "acme/reviews/sentiment:v7",
        "loader": "onnx",
        "instance": log.instance,
        "app_version": "1",
        "revision": "sentiment-00007-abc",
        "service": "sentiment",
    }


@pytest.mark.parametrize(
    "missing", [{"wandb_api_key": None}, {"project_name": None}, {"project_name": "wandb-registry-x"}]
)
def test_without_key_or_project_the_run_is_offline(
    backend: Backend, make_log: Any, missing: dict[str, Any]
) -> None:
    log = make_log(**missing)
    log.record(row(0))
    until(lambda: log.health()["written"] == 1)
    assert log.health()["state"] == "offline"
    assert log.health()["run"] == {"path": None, "url": None, "folder": backend.runs[0].folder}
    log.stop(20)
    (run,) = backend.runs
    assert (run.request.online, run.request.key) == (False, None)
    assert run.request.run["project"] == (
        "reviews" if missing.get("wandb_api_key", "") is None else "marquee"
    )
    # An offline run is all that there is of its rows.
    assert Path(run.folder).exists()


def test_recording_never_waits_for_a_run_that_hangs(backend: Backend, make_log: Any) -> None:
    backend.going_on.clear()
    log = make_log(inference_log_queue=50)
    done = threading.Event()

    def record() -> None:
        for number in range(500):
            log.record(row(number))
            log.count_error("client-left")
        log.health()
        done.set()

    threading.Thread(target=record, daemon=True).start()
    assert done.wait(20)
    health = log.health()
    assert health["received"] == 500
    assert health["waiting"] + health["dropped"]["queue-full"] == 500
    assert health["state"] == "degraded"
    assert "full" in health["reason"]
    backend.going_on.set()
    log.stop(20)
    # The gaps show: what was dropped has used up its numbers.
    assert backend.runs[0].rows[-1]["sequence"] < 499
    assert len(backend.ids()) == log.health()["written"]
    assert balanced(log.health())


def test_stopping_ends_in_time_whatever_hangs_and_counts_what_is_lost(
    backend: Backend, make_log: Any, warnings: list[str]
) -> None:
    log = make_log()
    log.record(row(0))
    until(lambda: log.health()["written"] == 1)
    backend.going_on.clear()
    for number in range(1, 10):
        log.record(row(number))
    started = time.monotonic()
    log.stop(1)
    assert time.monotonic() - started < 10
    assert log.health()["dropped"] == {"shutdown": 9, "unconfirmed": 1}
    assert log.health()["written"] == 0
    assert "9 shutdown" in warnings[-1]
    assert backend.runs[0].state == "killed"
    log.record(row(11))
    assert log.health()["dropped"]["stopped"] == 1
    # What the abandoned thread does later is not counted again, nor told about.
    told = len(warnings)
    backend.going_on.set()
    until(lambda: not any(thread.name == "inference-log" for thread in threading.enumerate()))
    assert len(warnings) == told
    assert balanced(log.health())


def test_a_run_that_cannot_be_opened_is_tried_again(
    backend: Backend, make_log: Any, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_writer, "_MOST_OPEN_DELAY", 0.05)
    backend.refusals = 3
    log = make_log()
    for number in range(5):
        log.record(row(number))
    until(lambda: log.health()["written"] == 5)
    assert log.health()["state"] == "ok"
    assert len(warnings) == 1
    assert "no run could be opened: CommError: no" in warnings[0]
    log.stop(20)
    assert backend.ids() == [f"row-{number}" for number in range(5)]


def test_stopping_does_not_wait_for_a_server_that_is_down(backend: Backend, make_log: Any) -> None:
    backend.refusals = 1_000
    log = make_log()
    for number in range(5):
        log.record(row(number))
    until(lambda: log.health()["state"] == "degraded")
    started = time.monotonic()
    log.stop(60)
    assert time.monotonic() - started < 20
    assert log.health()["dropped"] == {"no-run": 5}
    assert balanced(log.health())


def test_what_a_dead_run_did_not_deliver_goes_to_the_next(backend: Backend, make_log: Any) -> None:
    backend.prepare = lambda run: setattr(run, "broken_after", 7 if not backend.runs else None)
    log = make_log()
    for number in range(20):
        log.record(row(number))
    until(lambda: log.health()["written"] == 20)
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [7, 13]
    assert backend.ids() == [f"row-{number}" for number in range(20)]
    assert backend.runs[0].state == "killed"
    assert backend.runs[1].request.run["name"] == f"{log.instance}-2"


def test_rows_that_wandb_refused_are_sent_again_in_a_new_run(
    backend: Backend, make_log: Any, warnings: list[str]
) -> None:
    backend.prepare = lambda run: setattr(run, "arriving", bool(backend.runs))
    log = make_log()
    for number in range(20):
        log.record(row(number))
    until(lambda: log.health()["written"] == 20)
    backend.runs[0].ended_by_wandb = True
    until(lambda: len(backend.ids()) == 20)
    until(lambda: log.health()["state"] == "ok")
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [0, 20]
    assert log.health()["written"] == 20
    assert log.health()["dropped"] == {}
    assert len(warnings) == 1


def test_a_run_stopped_on_its_page_is_followed_by_another_one(backend: Backend, make_log: Any) -> None:
    log = make_log()
    log.record(row(0))
    until(lambda: log.health()["written"] == 1)
    backend.runs[0].ended_by_wandb = True
    until(lambda: backend.runs[0].state == "finished")
    assert len(backend.runs) == 1
    log.record(row(1))
    until(lambda: log.health()["written"] == 2)
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [1, 1]


def test_rows_that_never_arrived_are_counted_at_the_end(
    backend: Backend, make_log: Any, warnings: list[str]
) -> None:
    backend.prepare = lambda run: setattr(run, "arriving", False)
    log = make_log()
    for number in range(20):
        log.record(row(number))
    until(lambda: log.health()["written"] == 20)
    log.stop(20)
    assert log.health()["dropped"] == {"unconfirmed": 20}
    assert balanced(log.health())
    # They lie where the client keeps them.
    assert Path(backend.runs[0].folder).exists()
    assert any(f"wandb sync {backend.runs[0].folder}" in line for line in warnings)


def test_more_rows_than_are_kept_for_a_dead_run_are_counted(backend: Backend, make_log: Any) -> None:
    backend.prepare = lambda run: setattr(run, "arriving", bool(backend.runs))
    log = make_log(inference_log_queue=10)
    for number in range(25):
        log.record(row(number))
        until(lambda: log.health()["waiting"] == 0)
    backend.runs[0].ended_by_wandb = True
    until(lambda: len(backend.ids()) == 10)
    log.stop(20)
    assert log.health()["dropped"] == {"unconfirmed": 15}
    assert backend.ids() == [f"row-{number}" for number in range(15, 25)]
    assert balanced(log.health())


def test_a_full_run_is_followed_by_another_one(
    backend: Backend, make_log: Any, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr(inference_writer, "MAX_ROWS", 300)
    log = make_log()
    for number in range(1_000):
        log.record(row(number))
    log.stop(30)
    assert len(backend.runs) > 2
    assert all(len(run.rows) < 600 and run.state == "finished" for run in backend.runs)
    assert backend.ids() == [f"row-{number}" for number in range(1_000)]
    assert warnings == []


def test_an_old_run_is_followed_by_another_one(
    backend: Backend, make_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_writer, "MAX_AGE_SECONDS", 0)
    log = make_log()
    for number in range(2):
        log.record(row(number))
        until(lambda: log.health()["written"] == number + 1)  # noqa: B023
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [1, 1]


def test_errors_and_drops_are_in_the_summary(backend: Backend, make_log: Any) -> None:
    log = make_log()
    log.count_error("invalid-input")
    log.count_error("invalid-input")
    log.record(row(0))
    log.count_error("overloaded")
    log.stop(20)
    assert backend.runs[0].summary["received"] == 1
    assert backend.runs[0].summary["errors/invalid-input"] == 2
    assert backend.runs[0].summary["errors/overloaded"] == 1


def test_kinds_of_errors_are_bounded(make_log: Any) -> None:
    log = make_log()
    for number in range(200):
        log.count_error(f"kind-{number}")
    assert len(log.health()["errors"]) <= 51
    assert sum(log.health()["errors"].values()) == 200


@pytest.mark.parametrize("wrong", [None, 7, [1, 2]])
def test_what_is_no_row_is_counted(make_log: Any, wrong: Any) -> None:
    log = make_log()
    log.record(wrong)
    assert log.health()["dropped"] == {"unreadable": 1}
    assert balanced(log.health())


def test_texts_are_masked_and_cut(backend: Backend, make_log: Any) -> None:
    log = make_log(log_text_characters=30)
    log.record(row(0, text="ann@example.com " + "liked it " * 20_000))
    log.record(row(1, text=None))
    log.stop(20)
    assert backend.runs[0].rows[0]["text"] == ("[email] " + "liked it " * 9)[:30][: len("[email] ") + 14]
    assert "text" not in backend.runs[0].rows[1]


def test_without_texts_the_column_is_missing(backend: Backend, make_log: Any) -> None:
    log = make_log(log_text="none")
    log.record(row(0))
    log.stop(20)
    assert "text" not in backend.runs[0].rows[0]


def test_the_callers_row_is_left_alone(make_log: Any) -> None:
    log = make_log()
    given = row(0)
    log.record(given)
    assert given == row(0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_logs_as_an_instance_of_its_own(make_log: Any) -> None:
    log = make_log()
    log.record(row(0))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, f"{log.instance} {log.health()['received']}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    instance, received = os.read(read, 100).decode().split()
    os.close(read)
    os.close(write)
    assert instance != log.instance
    assert received == "0"
