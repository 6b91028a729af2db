"""B25 to B33: what W&B, its client and the way to it may do to a start, to a reply and to the rows."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.core import errors
from app.core.config import Settings
from app.main import create_app
from app.services.inference_log import InferenceLog
from app.services.registry import obtain_model
from tests import models
from tests.app.api.client import AppClient
from tests.app.services.pulling import PATH, content, refused
from tests.app.services.test_inference_log import MODEL, Backend, FakeRun, row
from tests.e2e.server_process import ServerProcess

pytestmark = pytest.mark.timeout(300)
SENTIMENT = "reviews/sentiment"


def patient(seconds: float, condition: Any) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("quick_client")
def test_b25_each_cause_has_a_message_of_its_own(model, pull_settings, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("no folder")
    messages = {
        refused(pull_settings(state_dir=blocked), errors.StorageError, "STATE_DIR", str(blocked)),
        refused(pull_settings(local_model_dir=blocked), errors.StorageError, "LOCAL_MODEL_DIR", str(blocked)),
        refused(pull_settings(wandb_api_key="w" * 40), errors.WrongKeyError),
        refused(pull_settings(model_version="staging"), errors.ArtifactNotFoundError, "staging"),
    }
    model.set_fault("graphql", operation="ArtifactMembershipByName", hang=True)
    messages.add(refused(pull_settings(), errors.UnreachableError))
    assert len(messages) == 5


def test_b25_without_a_home_everything_lies_under_the_configured_folder(
    model, pull_settings, tmp_path, monkeypatch
):
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    assert obtain_model(pull_settings()).model.version == "v0"
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("quick_client")
def test_b26_a_missing_alias_an_empty_collection_and_an_unfinished_version_are_told_apart(
    model, pull_settings
):
    refused(pull_settings(model_version="nope"), errors.ArtifactNotFoundError, PATH, "'nope'")
    model.set_artifact_state(f"{PATH}:v0", "PENDING")
    refused(pull_settings(), errors.NotCommittedError, "not committed")
    model.set_artifact_state(f"{PATH}:v0", "DELETED")
    refused(pull_settings(), errors.ArtifactNotFoundError, "empty")


@pytest.mark.usefixtures("quick_client")
def test_b26_two_starts_round_a_move_of_the_alias_can_be_told_apart(model, pull_settings):
    first = obtain_model(pull_settings()).model
    model.publish(PATH, {"model.bin": b"another"})
    second = obtain_model(pull_settings()).model
    assert (first.version, second.version) == ("v0", "v1")
    assert first.digest != second.digest


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize("trouble", ["no alias", "not committed"])
def test_b26_a_server_that_follows_the_alias_keeps_its_model_and_says_degraded(
    wandb_server, pull_settings, tmp_path, trouble
):
    def publish(name: str) -> None:
        folder = models.tiny_onnx(tmp_path / name)
        (folder / "note").write_text(name)
        wandb_server.publish(PATH, content(folder))

    publish("one")
    settings = pull_settings(model_refresh_seconds=3_600, inference_log=False, inference_threads=1)
    with AppClient(create_app(settings)) as client:
        publish("two")
        if trouble == "no alias":
            wandb_server.remove_alias(PATH, "latest")
        else:
            wandb_server.set_artifact_state(f"{PATH}:v1", "PENDING")
        client.run(client.service.server._refresh.look())
        assert client.get("/api/v1/health").json()["refresh"]["state"] == "degraded"
        reply = client.post("/predict", json={"text": "a good film"})
        assert (reply.status_code, reply.json()["model"]["version"]) == (200, "v0")


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize("spoilt", [{"shorten": True}, {"corrupt": True}], ids=str)
def test_b27_a_download_that_is_cut_or_damaged_is_retried_then_named(model, pull_settings, spoilt):
    model.set_fault("download", path="model.bin", **spoilt)
    refused(pull_settings(), errors.DigestMismatchError, "model.bin")
    model.clear_faults()
    model.set_fault("download", path="model.bin", times=1, **spoilt)
    files = obtain_model(pull_settings())
    (files.path / "model.bin").write_bytes(b"")
    assert (obtain_model(pull_settings()).path / "model.bin").read_bytes() == bytes(range(256)) * 40


@pytest.mark.usefixtures("quick_client")
def test_b27_two_that_download_into_one_folder_get_a_whole_copy_each(model, pull_settings):
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(obtain_model(pull_settings()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(files.path / "model.bin").read_bytes() for files in found} == {bytes(range(256)) * 40}
    assert len(found) == 4


class Trouble(Backend):
    """Runs whose opening or writing hangs, raises or is refused."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        if kind == "start raises":
            self.refusals = 1_000
        elif kind == "start hangs":
            self.going_on.clear()
        elif kind == "log raises":
            self.prepare = lambda run: setattr(run, "broken_after", 0)
        elif kind == "log blocks":
            self.prepare = lambda _run: self.going_on.clear()


@pytest.mark.parametrize("kind", ["start hangs", "start raises", "log raises", "log blocks"])
def test_b29_trouble_with_the_log_is_counted_and_touches_no_prediction(make_client, tmp_path, kind):
    client = make_client()
    backend = Trouble(tmp_path / "runs", kind)
    settings = Settings(
        _env_file=None,
        state_dir=tmp_path / "log",
        project_name="reviews",
        wandb_entity="acme",
        wandb_api_key="k" * 40,
        inference_log_spool_mb=1,
        inference_log_start_seconds=1,
    )
    log = InferenceLog(settings, backend)
    log.start(MODEL)
    client.service.inference._log = log
    try:
        slowest = 0.0
        for _ in range(30):
            started = time.monotonic()
            assert client.post("/predict", json={"text": "good"}).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 1
        patient(20, lambda: log.health()["received"] == 30)
        if kind == "start raises":
            patient(20, lambda: log.health()["state"] == "degraded")
            assert log.health()["reason"]
        assert "dropped" in log.health()
    finally:
        started = time.monotonic()
        log.stop(1)
        assert time.monotonic() - started < 5
        backend.going_on.set()


def test_b30_three_predictions_are_three_rows_at_a_cost_that_does_not_grow(tmp_path):
    backend = Backend(tmp_path / "runs")
    settings = Settings(
        _env_file=None,
        state_dir=tmp_path / "log",
        project_name="reviews",
        wandb_entity="acme",
        wandb_api_key="k" * 40,
    )
    log = InferenceLog(settings, backend)
    log.start(MODEL)
    for number in range(3):
        log.record(row(number))
        patient(20, lambda seen=number + 1: len(backend.ids()) == seen)
    assert backend.ids() == ["row-0", "row-1", "row-2"]

    def cost(first: int) -> float:
        started = time.process_time()
        for number in range(first, first + 500):
            log.record(row(number))
        return time.process_time() - started

    early = min(cost(first) for first in (100, 700, 1_300))
    late = min(cost(first) for first in (5_000, 5_600, 6_200))
    log.stop(5)
    assert late < 3 * early + 0.05


class Endless(FakeRun):
    def finish(self, seconds: float, first: int, last: int) -> Any:
        threading.Event().wait(seconds)
        return super().finish(seconds, first, last)


def test_b32_a_finish_that_hangs_is_given_up_in_time_and_replies_are_complete(make_client, gate, tmp_path):
    """What the process does on SIGTERM: open requests first, then the log, all within its time."""
    client = make_client(shutdown_seconds=3)
    backend = Backend(tmp_path / "runs")
    settings = Settings(
        _env_file=None, state_dir=tmp_path / "log", project_name="reviews", wandb_api_key="k" * 40
    )
    log = InferenceLog(settings, backend)
    log.start(MODEL)
    client.service.inference._log = log
    assert client.post("/predict", json={"text": "good"}).status_code == 200
    patient(20, lambda: len(backend.ids()) == 1)
    backend.going_on.clear()

    async def stop_amid_requests() -> tuple[set[int], float]:
        import httpx

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(client.app), base_url="http://m.test"
        ) as asking:
            open_ones = [
                asyncio.ensure_future(asking.post("/predict", json={"text": "wait"})) for _ in range(2)
            ]
            while client.service.server.waiting < 2:
                await asyncio.sleep(0.01)
            started = time.monotonic()
            stopping = asyncio.ensure_future(client.service.lifecycle.stop())
            await asyncio.sleep(0.1)
            gate.set()
            statuses = {(await one).status_code for one in open_ones}
            await stopping
            return statuses, time.monotonic() - started

    statuses, seconds = client.run(stop_amid_requests())
    assert statuses == {200}
    assert seconds < 6
    backend.going_on.set()


@pytest.mark.e2e
def test_b33_a_process_frozen_right_after_its_reply_loses_no_row(tmp_path, wandb_server):
    """Where the CPU is taken away after the reply: the row lies in the spool by then, and is sent when it goes on."""
    folder = models.tiny_onnx(tmp_path / "model")
    wandb_server.publish(
        f"{wandb_server.entity}/{SENTIMENT}",
        {path.name: path.read_bytes() for path in folder.iterdir()},
        aliases=("latest",),
    )
    variables = {
        "PROJECT_NAME": "reviews",
        "WANDB_ENTITY": wandb_server.entity,
        "WANDB_API_KEY": wandb_server.api_key,
        "WANDB_BASE_URL": wandb_server.url,
    }
    with ServerProcess(tmp_path / "server", **variables) as server:
        server.wait_until_ready()
        reply = server.predict("a good film")
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        spooled = b"".join(
            path.read_bytes()
            for path in (tmp_path / "server" / "state" / "spool").rglob("*")
            if path.is_file()
        )
        assert reply["id"].encode() in spooled
        server.process.send_signal(signal.SIGCONT)
        assert server.terminate(30) == 0, server.output

    def arrived() -> list[str]:
        runs = wandb_server.runs(project="reviews", job_type="inferences")
        return [str(entry["id"]) for run in runs for entry in wandb_server.rows(run.path) if "id" in entry]

    if not arrived():
        # A machine that is busy may not get the run open in the time to stop.
        with ServerProcess(tmp_path / "server", **variables) as again:
            again.wait_until_ready()
            patient(90, arrived)
            assert again.terminate(30) == 0, again.output
    assert set(arrived()) == {reply["id"]}


def test_b33_whether_the_cpu_stays_is_a_setting_of_the_deployment():
    root = Path(__file__).resolve().parents[2]
    assert "--no-cpu-throttling" in (root / "deploy" / "cloud_run.py").read_text("utf-8")
    assert "INFERENCE_LOG_WAIT_SECONDS" in (root / "docs" / "configuration.md").read_text("utf-8")
