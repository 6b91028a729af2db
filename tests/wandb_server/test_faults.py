"""Faults really bite the real client, and end when they should."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_wandb import ClientAs
from tests.wandb_server import WandbServer
from tests.wandb_server.faults import Fault, fault_from_json

PATH = "acme/reviews/sentiment:v0"
FILES = {"model.bin": bytes(range(256)) * 40, "marquee.json": b"{}"}

# Waits below half a second are rounded to none, which the client takes for its default of up to a minute.
IMPATIENT = {
    f"x_{part}_{name}": value
    for part in ("graphql", "file_stream", "file_transfer")
    for name, value in {"retry_max": 2, "retry_wait_min_seconds": 1, "retry_wait_max_seconds": 1}.items()
}


@pytest.fixture
def model(wandb_server: WandbServer) -> WandbServer:
    """A server that has one model version."""
    wandb_server.publish("acme/reviews/sentiment", FILES)
    return wandb_server


def fetch(wandb: Any, folder: Path) -> None:
    """Download into a fresh folder, past the cache, and verify."""
    artifact = wandb.Api().artifact(PATH)
    artifact.verify(artifact.download(root=str(folder), skip_cache=True))


@pytest.mark.parametrize("effect", ["corrupt", "shorten"])
def test_spoilt_bytes_are_found_by_verify_only(
    model: WandbServer, wandb_as: ClientAs, tmp_path: Path, effect: str
) -> None:
    fault = model.set_fault("download", path="model.bin", times=1, **{effect: True})
    with wandb_as() as wandb:
        artifact = wandb.Api().artifact(PATH)
        folder = artifact.download(root=str(tmp_path / "spoilt"))
        with pytest.raises(ValueError, match=r"Digest mismatch for file: model\.bin"):
            artifact.verify(folder)
        assert fault.hits == 1
        fetch(wandb, tmp_path / "healed")


def test_a_cut_body_makes_the_download_raise(model: WandbServer, wandb_as: ClientAs, tmp_path: Path) -> None:
    model.set_fault("download", path="model.bin", cut=True)
    with wandb_as() as wandb:
        with pytest.raises(Exception, match="IncompleteRead"):
            fetch(wandb, tmp_path / "cut")
        assert not (tmp_path / "cut" / "model.bin").exists()
        model.clear_faults()
        fetch(wandb, tmp_path / "whole")


def test_a_stalled_body_keeps_the_client_waiting(
    model: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    fault = model.set_fault("download", path="model.bin", stall=True)
    with wandb_as() as wandb:
        worker = threading.Thread(target=fetch, args=(wandb, tmp_path / "stalled"))
        worker.start()
        worker.join(0.8)
        assert worker.is_alive()
        assert fault.hits == 1
        model.clear_faults()
        worker.join(10)
        assert not worker.is_alive()
    assert (tmp_path / "stalled" / "model.bin").read_bytes() == FILES["model.bin"]


def test_a_refused_address_is_asked_for_again_with_the_key(
    model: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    model.set_fault("download", path="model.bin", status=403, times=1)
    with wandb_as() as wandb:
        fetch(wandb, tmp_path / "second")
        assert [call.status for call in model.calls("download", "model.bin")] == [403, 200]
        model.set_fault("download", path="model.bin", status=403)
        with pytest.raises(Exception, match="403 Client Error"):
            fetch(wandb, tmp_path / "never")


def test_a_server_error_is_retried(model: WandbServer, wandb_as: ClientAs, tmp_path: Path) -> None:
    model.set_fault("download", path="model.bin", status=500, times=1)
    with wandb_as() as wandb:
        fetch(wandb, tmp_path / "retried")
    assert [call.status for call in model.calls("download", "model.bin")] == [500, 200]


def test_a_missing_manifest_makes_the_download_raise(
    model: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    model.set_fault("manifest", status=404)
    with wandb_as() as wandb, pytest.raises(Exception, match="404 Client Error"):
        fetch(wandb, tmp_path / "none")


def test_permission_is_refused_by_operation(model: WandbServer, wandb_as: ClientAs, tmp_path: Path) -> None:
    with wandb_as() as wandb:
        model.set_fault("graphql", operation="ArtifactMembershipByName", status=403)
        with pytest.raises(wandb.errors.CommError, match="permission denied"):
            fetch(wandb, tmp_path / "refused")
        model.clear_faults()
        model.set_fault("graphql", operation="UpsertBucket", status=403, message="no permission for acme")
        with pytest.raises(wandb.errors.CommError, match="no permission for acme"):
            wandb.init(project="reviews")
        model.clear_faults()
        model.set_fault("graphql", operation="ArtifactMembershipByName", status=200, message="not committed")
        with pytest.raises(wandb.errors.CommError, match="not committed"):
            fetch(wandb, tmp_path / "uncommitted")
    assert model.runs() == []


def test_a_wrong_key_is_refused(model: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as(WANDB_API_KEY="wrong" * 8) as wandb:
        with pytest.raises(wandb.errors.AuthenticationError):
            wandb.Api()
        with pytest.raises(wandb.errors.CommError, match="not logged in"):
            wandb.init(project="reviews")
    assert model.runs() == []


def test_a_key_that_is_replaced_stops_working(model: WandbServer, wandb_as: ClientAs, tmp_path: Path) -> None:
    with wandb_as() as wandb:
        fetch(wandb, tmp_path / "before")
        model.api_key = "renewed0" * 5
        with pytest.raises(wandb.errors.AuthenticationError):
            wandb.Api()
    with wandb_as() as wandb:
        fetch(wandb, tmp_path / "after")


def test_a_slow_answer_takes_its_time(model: WandbServer, wandb_as: ClientAs, tmp_path: Path) -> None:
    model.set_fault("graphql", operation="FetchArtifactManifest", delay=0.7, times=1)
    with wandb_as() as wandb:
        started = time.monotonic()
        fetch(wandb, tmp_path / "slow")
        assert time.monotonic() - started >= 0.7


def test_init_gives_up_on_a_server_that_hangs(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    fault = wandb_server.set_fault("graphql", operation="UpsertBucket", hang=True)
    with wandb_as() as wandb:
        with pytest.raises(wandb.errors.CommError, match="Timed out"):
            wandb.init(project="reviews", settings=wandb.Settings(init_timeout=1))
        assert fault.hits >= 1
        wandb_server.clear_faults()
    assert all(not run.history for run in wandb_server.runs())


def test_rows_are_lost_in_silence_when_the_stream_is_refused(
    wandb_server: WandbServer, wandb_as: ClientAs
) -> None:
    wandb_server.set_fault("file_stream", status=404)
    with wandb_as() as wandb:
        run = wandb.init(project="reviews", settings=wandb.Settings(**IMPATIENT))
        run.log({"n": 1})
        run.finish()
    assert wandb_server.rows(run.id) == []
    assert wandb_server.run(run.id).state == "running"


def test_rows_outlive_a_short_outage(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        run = wandb.init(project="reviews", settings=wandb.Settings(**IMPATIENT))
        fault = wandb_server.set_fault("file_stream", status=503, times=2)
        for number in range(30):
            run.log({"n": number})
        run.finish()
    assert fault.hits == 2
    assert [row["n"] for row in wandb_server.rows(run.id)] == list(range(30))


def test_an_upload_that_is_refused_leaves_the_version_pending(
    wandb_server: WandbServer, wandb_as: ClientAs
) -> None:
    wandb_server.set_fault("upload", path="model.bin", status=403)
    with wandb_as() as wandb, wandb.init(project="reviews", settings=wandb.Settings(**IMPATIENT)) as run:
        artifact = wandb.Artifact("sentiment", type="model")
        with artifact.new_file("model.bin", mode="w") as file:
            file.write("weights")
        logged = run.log_artifact(artifact)
        with pytest.raises(Exception, match=r"(?i)403|upload"):
            logged.wait(timeout=10)
    assert [item.state for item in wandb_server.artifacts("model")] == ["PENDING"]


def test_an_upload_that_is_spoilt_is_found_by_the_consumer(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    wandb_server.set_fault("upload", path="model.bin", corrupt=True)
    with wandb_as("publisher") as wandb, wandb.init(project="reviews") as run:
        artifact = wandb.Artifact("sentiment", type="model")
        with artifact.new_file("model.bin", mode="w") as file:
            file.write("weights")
        run.log_artifact(artifact).wait()
    with wandb_as("consumer") as wandb, pytest.raises(ValueError, match="Digest mismatch"):
        fetch(wandb, tmp_path / "spoilt")


def test_faults_end_after_their_times_and_fit_only_what_they_name() -> None:
    from tests.wandb_server.faults import Faults

    faults = Faults()
    first = faults.add(Fault("graphql", operation="Run", times=2))
    second = faults.add(Fault("graphql"))
    assert faults.take("graphql", "Runs") is second
    assert [faults.take("graphql", "Run") for _ in range(3)] == [first, first, second]
    assert faults.take("download", "Run") is None
    faults.clear("graphql")
    assert first.cleared
    assert faults.take("graphql", "Run") is None


@pytest.mark.parametrize("wrong", [{"kind": "graphq"}, {"status": 500}, {"kind": "upload", "statuss": 500}])
def test_a_misspelt_fault_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"kind|unknown"):
        fault_from_json(wrong)
