"""The inference log in front of a run that does what a test says: order, counters, new runs, volume, and the end."""

import asyncio
import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from app.core.config import Settings
from app.services import inference_backoff, inference_delivery, inference_writer
from app.services.artifact import Manifest, ModelFiles, ModelVersion
from app.services.inference_log import InferenceLog
from app.services.inference_run import RunLostError, RunRequest, Stored

MODEL = ModelFiles(
    Path("model"),
    ModelVersion("sentiment", "v7", "d" * 32),
    "wandb",
    Manifest(),
    True,
    "acme/reviews/sentiment:v7",
)


class FakeRun:
    """A run in memory. `rows` are those that arrived, one a step; `files` the rows of the files that did."""

    def __init__(self, backend: "Backend", request: RunRequest, folder: Path) -> None:
        self.backend = backend
        self.request = request
        self.path = f"acme/reviews/{request.run['id']}" if request.online else None
        self.url = f"https://wandb.example/{self.path}" if request.online else None
        self.folder = str(folder)
        self.rows: list[dict[str, Any]] = []
        self.files: list[list[dict[str, Any]]] = []
        self.alerts: list[dict[str, str]] = []
        self.summary: dict[str, Any] = {}
        self.arriving = True
        self.answering = True
        self.lagging = 0
        self.broken_after: int | None = None
        self.committing = True
        self.ended_by_wandb = False
        self.state = "running"
        self._outcomes: dict[str, str | None] = {}

    def stopped(self) -> bool:
        return self.ended_by_wandb

    def write(self, rows: list[bytes]) -> None:
        self.backend.wait()
        for row in rows:
            if self.broken_after is not None and len(self.rows) >= self.broken_after:
                raise RunLostError("ConnectionResetError: gone")
            if self.arriving:
                self.rows.append(json.loads(row))

    def log_batch(self, file: Path, rows: int) -> None:
        self.backend.wait()
        if self.backend.refused_files:
            self.backend.refused_files -= 1
            self._outcomes[file.name] = "ValueError: refused"
            return
        self.files.append([json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()])
        assert len(self.files[-1]) == rows
        if self.committing:
            self._outcomes[file.name] = None

    def outcomes(self) -> dict[str, str | None]:
        ended, self._outcomes = self._outcomes, {}
        return ended

    def summarize(self, values: dict[str, Any]) -> None:
        self.backend.wait()
        self.summary |= values

    def alert(self, title: str, text: str, level: str) -> None:
        self.alerts.append({"title": title, "text": text, "level": level})

    def stored(self, path: str) -> Stored | None:
        run = next((run for run in self.backend.runs if run.path == path), None)
        if run is None or not self.answering:
            return None
        return Stored(len(run.rows) - 1 - run.lagging, len(run.rows) - run.lagging)

    def scan(self, path: str, first: int) -> frozenset[str] | None:
        (run,) = (run for run in self.backend.runs if run.path == path)
        return frozenset(str(row.get("id") or row["window/id"]) for row in run.rows[first:])

    def finish(self, seconds: float, first: int, last: int) -> Stored | None:
        self.backend.wait()
        self.state = "finished"
        return self.stored(self.path) if self.path else Stored(last, last + 1)

    def kill(self) -> None:
        self.state = "killed" if self.state == "running" else self.state


class Backend:
    """Opens runs; a test says how they behave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[FakeRun] = []
        self.refusals = 0
        self.refused_files = 0
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
        return [row["id"] for run in self.runs for row in run.rows if "id" in row]

    def everything(self) -> list[str]:
        """The ids of all inferences that arrived in history or in a file, each once."""
        in_files = [row["id"] for run in self.runs for file in run.files for row in file]
        return sorted(set(self.ids() + in_files), key=lambda name: int(name[4:]))


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
    monkeypatch.setattr(inference_writer, "_GATHER_SECONDS", 0.01)
    logs: list[InferenceLog] = []

    def make(**changes: Any) -> InferenceLog:
        values: dict[str, Any] = {
            "project_name": "reviews",
            "wandb_entity": "acme",
            "wandb_api_key": "k" * 40,
            "state_dir": tmp_path / "state",
            "inference_log_confirm_seconds": 0.05,
            "inference_log_batch_seconds": 0.1,
            "inference_log_rows_per_minute": 1_000,
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


def record(log: InferenceLog, numbers: range) -> None:
    for number in numbers:
        log.record(row(number))


def ids(numbers: range) -> list[str]:
    return [f"row-{number}" for number in numbers]


def confirmed(log: InferenceLog, count: int) -> None:
    until(lambda: log.health()["confirmed"] >= count)


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def balanced(health: dict[str, Any]) -> bool:
    return health["received"] == health["confirmed"] + health["waiting"] + sum(health["dropped"].values())


def left_in(folder: Path) -> int:
    """How many rows lie in spools that nobody holds."""
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("state/spool/*/rows-*.jsonl"))


def test_rows_arrive_once_in_order_with_instance_and_sequence(
    backend: Backend, make_log: Any, tmp_path: Path
) -> None:
    log = make_log()
    assert log.health()["state"] == "idle"
    record(log, range(1_000))
    log.stop(20)
    (run,) = backend.runs
    assert [entry["id"] for entry in run.rows] == ids(range(1_000))
    assert [entry["sequence"] for entry in run.rows] == list(range(1_000))
    assert {entry["instance"] for entry in run.rows} == {log.instance}
    assert run.state == "finished"
    assert not Path(run.folder).exists()
    assert list((tmp_path / "state/spool").iterdir()) == []
    assert log.health() == {
        "state": "idle",
        "reason": None,
        "instance": log.instance,
        "run": None,
        "received": 1_000,
        "confirmed": 1_000,
        "waiting": 0,
        "in_flight": 0,
        "spool": {"bytes": 0, "limit_bytes": 268_435_456, "in_memory": 0},
        "converted": 0,
        "dropped": {},
        "errors": {},
        "windows": {"received": 0, "confirmed": 0, "dropped": 0},
        "recovered": {"found": 0, "confirmed": 0, "dropped": 0},
    }


def test_nothing_is_opened_by_anything_but_an_inference(
    backend: Backend, make_log: Any, tmp_path: Path
) -> None:
    log = make_log()
    before = threading.active_count()
    log.health()
    log.count_error("too-large")
    assert threading.active_count() == before
    log.stop(5)
    assert backend.runs == []
    assert not (tmp_path / "state").exists()
    assert log.health()["errors"] == {"too-large": 1}


def test_a_log_that_is_off_does_nothing(backend: Backend, make_log: Any, tmp_path: Path) -> None:
    log = make_log(inference_log=False)
    log.record(row(0))
    log.record_window({"window/volume": 1})
    log.alert("title", "text")
    log.stop(5)
    assert backend.runs == []
    assert not (tmp_path / "state").exists()
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
        "sample": 1.0,
        "app_version": "1",
        "revision": "sentiment-00007-abc",
        "service": "sentiment",
    }


def test_a_model_that_comes_while_a_run_is_opened_gets_none_of_its_rows_there(
    backend: Backend, make_log: Any
) -> None:
    opening = threading.Event()
    backend.going_on.clear()
    wait = backend.wait
    backend.wait = lambda: (opening.set(), wait())[1]  # type: ignore[method-assign]
    log = make_log()
    record(log, range(5))
    assert opening.wait(20)
    log.start(replace(MODEL, model=ModelVersion("sentiment", "v8", "e" * 32)))
    record(log, range(5, 8))
    backend.going_on.set()
    confirmed(log, 8)
    log.stop(20)
    assert [[entry["id"] for entry in run.rows] for run in backend.runs] == [ids(range(5)), ids(range(5, 8))]


def test_a_new_model_gets_a_run_of_its_own(backend: Backend, make_log: Any) -> None:
    log = make_log()
    record(log, range(5))
    log.start(replace(MODEL, model=ModelVersion("sentiment", "v8", "e" * 32)))
    record(log, range(5, 8))
    confirmed(log, 8)
    log.stop(20)
    assert [run.request.run["config"]["model_version"] for run in backend.runs] == ["v7", "v8"]
    assert [[entry["id"] for entry in run.rows] for run in backend.runs] == [ids(range(5)), ids(range(5, 8))]


@pytest.mark.parametrize(
    "missing", [{"wandb_api_key": None}, {"project_name": None}, {"project_name": "wandb-registry-x"}]
)
def test_without_key_or_project_the_run_is_offline(
    backend: Backend, make_log: Any, missing: dict[str, Any]
) -> None:
    log = make_log(**missing)
    log.record(row(0))
    until(lambda: log.health()["in_flight"] == 1)
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
    assert log.health()["confirmed"] == 1


def test_recording_never_waits_for_a_run_that_hangs(backend: Backend, make_log: Any) -> None:
    backend.going_on.clear()
    log = make_log()
    done = threading.Event()

    def work() -> None:
        record(log, range(500))
        for _ in range(500):
            log.count_error("client-left")
        log.record_window({"window/volume": 1})
        log.alert("title", "text")
        log.health()
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20)
    assert log.health()["waiting"] == 500
    assert log.health()["dropped"] == {}
    backend.going_on.set()
    log.stop(20)
    assert backend.ids() == ids(range(500))
    assert balanced(log.health())


def test_stopping_ends_in_time_whatever_hangs_and_keeps_what_is_left(
    backend: Backend, make_log: Any, warnings: list[str], tmp_path: Path
) -> None:
    log = make_log()
    log.record(row(0))
    confirmed(log, 1)
    backend.going_on.clear()
    record(log, range(1, 10))
    started = time.monotonic()
    log.stop(1)
    assert time.monotonic() - started < 10
    assert log.health()["dropped"] == {}
    assert log.health()["waiting"] == 9
    assert "9 rows are left" in warnings[-1]
    assert left_in(tmp_path) == 9
    assert backend.runs[0].state == "killed"
    log.record(row(11))
    assert log.health()["dropped"] == {"stopped": 1}
    # What the abandoned thread does later is not told about.
    told = len(warnings)
    backend.going_on.set()
    until(lambda: not any(thread.name == "inference-log" for thread in threading.enumerate()))
    assert len(warnings) == told
    assert balanced(log.health())


def test_the_next_start_sends_what_the_last_one_left(backend: Backend, make_log: Any, tmp_path: Path) -> None:
    backend.refusals = 1_000
    first = make_log()
    record(first, range(5))
    first.record_window({"window/volume": 5})
    first.stop(1)
    assert left_in(tmp_path) == 6
    backend.refusals = 0
    other = make_log(project_name="another")
    other.record(row(100))
    confirmed(other, 1)
    assert left_in(tmp_path) == 6, "rows of another project are not its own"
    # No inference is needed.
    second = make_log()
    until(lambda: second.health()["recovered"]["confirmed"] == 6)
    record(second, range(5, 8))
    confirmed(second, 3)
    second.stop(20)
    other.stop(20)
    assert backend.everything() == [*ids(range(8)), "row-100"]
    assert {entry["instance"] for entry in backend.runs[1].rows if entry.get("id") in ids(range(5))} == {
        first.instance
    }
    assert second.health()["received"] == 3
    assert list((tmp_path / "state/spool").iterdir()) == []


def test_a_row_that_a_crash_has_torn_is_counted(backend: Backend, make_log: Any, tmp_path: Path) -> None:
    backend.refusals = 1_000
    first = make_log()
    record(first, range(5))
    first.stop(1)
    (segment,) = tmp_path.glob("state/spool/*/rows-*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * (len(lines[1]) - 1) + b"\n"
    segment.write_bytes(b"".join(lines)[:-10])
    backend.refusals = 0
    second = make_log()
    until(lambda: second.health()["recovered"] == {"found": 5, "confirmed": 3, "dropped": 2})
    second.stop(20)
    assert backend.everything() == ["row-0", "row-2", "row-3"]


def test_a_run_that_cannot_be_opened_is_tried_again(
    backend: Backend, make_log: Any, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_backoff, "MOST_OPEN_DELAY", 0.05)
    backend.refusals = 3
    log = make_log()
    record(log, range(5))
    confirmed(log, 5)
    assert log.health()["state"] == "ok"
    assert len(warnings) == 1
    assert "no run could be opened: CommError: no" in warnings[0]
    log.stop(20)
    assert backend.ids() == ids(range(5))


def test_stopping_does_not_wait_for_a_server_that_is_down(
    backend: Backend, make_log: Any, tmp_path: Path
) -> None:
    backend.refusals = 1_000
    log = make_log()
    record(log, range(5))
    until(lambda: log.health()["state"] == "degraded")
    started = time.monotonic()
    log.stop(60)
    assert time.monotonic() - started < 20
    assert (log.health()["dropped"], log.health()["waiting"]) == ({}, 5)
    assert left_in(tmp_path) == 5


def test_what_a_dead_run_did_not_deliver_goes_to_the_next(backend: Backend, make_log: Any) -> None:
    backend.prepare = lambda run: setattr(run, "broken_after", 7 if not backend.runs else None)
    log = make_log()
    record(log, range(5))
    confirmed(log, 5)
    record(log, range(5, 20))
    confirmed(log, 20)
    log.stop(20)
    assert len(backend.runs) == 2
    assert backend.everything() == ids(range(20))
    assert [entry["id"] for entry in backend.runs[1].rows] == ids(range(5, 20))
    assert backend.runs[0].state == "killed"
    assert not Path(backend.runs[0].folder).exists()
    assert backend.runs[1].request.run["name"] == f"{log.instance}-2"


def test_rows_that_wandb_refused_are_sent_again_in_a_new_run(
    backend: Backend, make_log: Any, warnings: list[str]
) -> None:
    backend.prepare = lambda run: setattr(run, "arriving", bool(backend.runs))
    log = make_log()
    record(log, range(20))
    until(lambda: log.health()["in_flight"] == 20)
    backend.runs[0].ended_by_wandb = True
    confirmed(log, 20)
    assert log.health()["state"] == "ok"
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [0, 20]
    assert log.health()["dropped"] == {}
    assert len(warnings) == 1


def test_a_run_whose_rows_never_show_is_given_up(
    backend: Backend, make_log: Any, warnings: list[str]
) -> None:
    """W&B answers and the client is content, but the rows are not there: nothing but reading back tells."""
    backend.prepare = lambda run: setattr(run, "arriving", bool(backend.runs))
    log = make_log()
    record(log, range(20))
    confirmed(log, 20)
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [0, 20]
    assert "does not show the run's rows (it has 0 of 20)" in warnings[0]


def test_a_row_missing_below_the_watermark_is_found_by_its_id(backend: Backend, make_log: Any) -> None:
    log = make_log(inference_log_confirm_seconds=3600)
    record(log, range(20))
    until(lambda: log.health()["in_flight"] == 20)
    (run,) = backend.runs
    del run.rows[7]
    # The last step is what was sent, but there are fewer rows than steps.
    run.stored = lambda path: Stored(19, 19)  # type: ignore[method-assign]
    run.scan = lambda path, first: frozenset(entry["id"] for entry in run.rows)  # type: ignore[method-assign]
    run.finish = lambda *_: Stored(19, 19, run.scan("", 0))  # type: ignore[method-assign]
    run.ended_by_wandb = True
    until(lambda: len(backend.runs) == 2)
    log.stop(20)
    assert backend.everything() == ids(range(20))


def test_nothing_is_given_up_while_wandb_does_not_say_what_it_has(backend: Backend, make_log: Any) -> None:
    backend.prepare = lambda run: setattr(run, "answering", False)
    log = make_log()
    record(log, range(20))
    until(lambda: log.health()["in_flight"] == 20)
    time.sleep(1)
    assert len(backend.runs) == 1
    assert (log.health()["confirmed"], log.health()["waiting"]) == (0, 20)
    backend.runs[0].answering = True
    confirmed(log, 20)


def test_a_run_stopped_on_its_page_is_followed_by_another_one(backend: Backend, make_log: Any) -> None:
    log = make_log()
    log.record(row(0))
    confirmed(log, 1)
    backend.runs[0].ended_by_wandb = True
    until(lambda: backend.runs[0].state == "finished")
    assert len(backend.runs) == 1
    log.record(row(1))
    confirmed(log, 2)
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [1, 1]


def test_rows_that_never_arrived_are_kept_at_the_end(backend: Backend, make_log: Any, tmp_path: Path) -> None:
    backend.prepare = lambda run: setattr(run, "arriving", False)
    log = make_log(inference_log_confirm_seconds=3600)
    record(log, range(20))
    until(lambda: log.health()["in_flight"] == 20)
    log.stop(5)
    assert (log.health()["dropped"], log.health()["waiting"]) == ({}, 20)
    assert left_in(tmp_path) == 20
    # The client's own copy is of no more use.
    assert not Path(backend.runs[0].folder).exists()


def test_a_full_run_is_followed_by_another_one(
    backend: Backend, make_log: Any, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr(inference_delivery, "MAX_ROWS", 300)
    log = make_log()
    for first in range(0, 900, 150):
        record(log, range(first, first + 150))
        confirmed(log, first + 150)
    log.stop(30)
    assert [len(run.rows) for run in backend.runs] == [300, 300, 300]
    assert all(run.state == "finished" for run in backend.runs)
    assert backend.ids() == ids(range(900))
    assert warnings == []


def test_an_old_run_is_followed_by_another_one(
    backend: Backend, make_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_delivery, "MAX_AGE_SECONDS", 0.3)
    log = make_log()
    for number in range(2):
        log.record(row(number))
        confirmed(log, number + 1)
        until(lambda: backend.runs[-1].state == "finished")
    log.stop(20)
    assert [len(run.rows) for run in backend.runs] == [1, 1]


def test_above_what_history_carries_everything_goes_in_files(backend: Backend, make_log: Any) -> None:
    log = make_log(inference_log_rows_per_minute=600)
    record(log, range(500))
    confirmed(log, 500)
    for first in range(500, 3_000, 250):
        record(log, range(first, first + 250))
        log.record_window({"window/volume": first})
        time.sleep(0.05)
    confirmed(log, 3_000)
    until(lambda: log.health()["windows"]["confirmed"] == 10)
    log.stop(20)
    (run,) = backend.runs
    assert backend.everything() == ids(range(3_000))
    assert len({entry["id"] for file in run.files for entry in file}) > 2_000
    # All windows are in history, and no minute has more inferences there than was allowed.
    assert sum("window/volume" in entry for entry in run.rows) == 10
    shares = [entry for entry in run.rows if "history_share" in entry]
    assert all(0 < entry["history_share"] < 1 for entry in shares)
    assert len(run.rows) <= 600 + 10
    assert log.health()["dropped"] == {}


def test_a_file_that_wandb_refuses_is_sent_again(backend: Backend, make_log: Any) -> None:
    backend.refused_files = 1
    log = make_log(inference_log_rows_per_minute=10)
    record(log, range(500))
    confirmed(log, 500)
    log.stop(20)
    assert len(backend.runs) == 2
    assert backend.everything() == ids(range(500))


def test_a_file_that_is_never_committed_is_sent_again(
    backend: Backend, make_log: Any, warnings: list[str]
) -> None:
    backend.prepare = lambda run: setattr(run, "committing", bool(backend.runs))
    log = make_log(inference_log_rows_per_minute=10)
    record(log, range(500))
    confirmed(log, 500)
    log.stop(20)
    assert "does not commit a file" in warnings[0]
    assert backend.runs[0].files
    assert backend.everything() == ids(range(500))


def test_what_is_sampled_away_is_counted(backend: Backend, make_log: Any) -> None:
    log = make_log(inference_log_sample=0.25, inference_log_rows_per_minute=1_000)
    record(log, range(1_000))
    log.record_window({"window/volume": 1_000})
    for number in range(20):
        log.record({"id": f"row-{number}-feedback", "kind": "feedback", "right": True})
    log.stop(20)
    health = log.health()
    assert health["received"] == 1_020
    assert 200 < health["confirmed"] < 340
    assert health["dropped"] == {"sampled": 1_020 - health["confirmed"]}
    assert sum(entry.get("kind") == "feedback" for entry in backend.runs[0].rows) == 20
    assert health["windows"]["confirmed"] == 1
    assert backend.runs[0].request.run["config"]["sample"] == 0.25


def test_a_reply_can_wait_for_its_row(backend: Backend, make_log: Any) -> None:
    log = make_log(inference_log_wait_seconds=20, inference_log_confirm_seconds=3600)
    log.record(row(0))
    assert asyncio.run(log.settle())
    assert log.health()["confirmed"] == 1
    backend.runs[0].arriving = False
    log.record(row(1))
    # A bound, not a promise.
    started = time.monotonic()
    object.__setattr__(log._settings, "inference_log_wait_seconds", 0.3)
    assert not asyncio.run(log.settle())
    assert time.monotonic() - started < 5


def test_no_reply_waits_unless_it_is_asked_for(make_log: Any) -> None:
    log = make_log()
    log.record(row(0))
    started = time.monotonic()
    asyncio.run(log.settle())
    assert time.monotonic() - started < 0.5


def test_a_spool_that_is_full_drops_and_counts(backend: Backend, make_log: Any) -> None:
    backend.going_on.clear()
    log = make_log(inference_log_spool_mb=1, log_text_characters=20_000)
    for number in range(100):
        log.record(row(number, text="a good film " * 1_500))
    health = log.health()
    assert 0 < health["dropped"]["spool-full"] < 60
    assert balanced(health)
    backend.going_on.set()
    confirmed(log, 100 - health["dropped"]["spool-full"])
    log.record(row(100))
    log.stop(20)
    assert balanced(log.health())
    assert backend.everything()[-1] == "row-100"


def test_windows_and_alerts_are_told_to_wandb(backend: Backend, make_log: Any) -> None:
    log = make_log()
    log.alert("drift began", "the share of unknown tokens is 0.31")
    log.record_window({"window/volume": 3, "window/label": "Positive"})
    until(lambda: log.health()["windows"]["confirmed"] == 1)
    log.stop(20)
    (run,) = backend.runs
    (window,) = run.rows
    assert (window["window/volume"], window["window/instance"]) == (3, log.instance)
    assert {"window/id", "window/time"} <= set(window)
    assert run.alerts == [
        {"title": "drift began", "text": "the share of unknown tokens is 0.31", "level": "WARN"}
    ]
    assert log.health()["received"] == 0


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
