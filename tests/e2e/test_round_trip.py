"""The main job, whole: publish, pull by configuration, predict, log; then the same with a newer version.

Real parts: the W&B client, the server's process as `make run` starts it, HTTP, SIGTERM. W&B is the loopback one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.e2e.server_process import ServerProcess
from tests.wandb_server import WandbServer

PROJECT = "reviews"
TEXTS = ("a fine film", "not a fine film , dull", "dull", "a fine , fine film !", "not dull")


def publish(wandb_as: Callable[..., Any], folder: Path, name: str = "sentiment") -> str:
    """Publish with the project's own command; return the version."""
    from ml.publish import publish as publish_model

    with wandb_as("publisher"):
        return publish_model(folder, PROJECT, name).name.rpartition(":")[2]


def serve(folder: Path, server: WandbServer, **variables: str) -> ServerProcess:
    return ServerProcess(
        folder,
        PROJECT_NAME=PROJECT,
        WANDB_ENTITY=server.entity,
        WANDB_API_KEY=server.api_key,
        WANDB_BASE_URL=server.url,
        **variables,
    )


def inference_rows(server: WandbServer) -> list[dict[str, Any]]:
    return [row for run in server.runs(project=PROJECT, job_type="inferences") for row in server.rows(run)]


LOADERS = [
    pytest.param("onnx", models.tiny_onnx, id="onnx"),
    pytest.param("joblib", models.tiny_joblib, id="joblib"),
    pytest.param("tests.models.keyword:KeywordPredictor", models.tiny_keyword, id="custom"),
    pytest.param("transformers", models.tiny_distilbert_tf, id="transformers", marks=pytest.mark.tensorflow),
    pytest.param("keras", models.tiny_keras, id="keras", marks=pytest.mark.tensorflow),
]


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("loader", "make_model"), LOADERS)
def test_publish_serve_log_and_serve_the_next_version(tmp_path, wandb_server, wandb_as, loader, make_model):
    model = tmp_path / "model"
    make_model(model)
    first = publish(wandb_as, model)
    digest = wandb_server.artifact(f"{wandb_server.entity}/{PROJECT}/sentiment:{first}").digest

    with serve(tmp_path / "one", wandb_server, MODEL_VERSION="latest", MODEL_LOADER=loader) as server:
        server.wait_until_ready()
        replies = [server.predict(text) for text in TEXTS]
        status, listed = server.ask("POST", "/api/v1/predict", {"texts": list(TEXTS)})
        assert status == 200
        assert server.terminate() == 0, server.output

    assert {reply["model"]["version"] for reply in replies} == {first}
    assert {reply["model"]["digest"] for reply in replies} == {digest}
    assert [reply["sentiment"] for reply in replies] == [
        entry["sentiment"] for entry in listed["predictions"]
    ]
    expected = {reply["id"]: reply for reply in [*replies, *listed["predictions"]]}
    assert len(expected) == 2 * len(TEXTS)
    rows = inference_rows(wandb_server)
    assert sorted(row["id"] for row in rows) == sorted(expected), "exactly one row an inference"
    for row in rows:
        reply = expected[row["id"]]
        assert row["sentiment"] == reply["sentiment"]
        assert row["confidence_positive"] == pytest.approx(reply["confidences"]["positive"], abs=1e-4)
        assert row["text"] == reply["text"]
        assert (row["model_version"], row["model_digest"]) == (first, digest)
        assert row["inference_ms"] >= 0
        assert row["queue_ms"] >= 0
    assert sorted(row["sequence"] for row in rows) == list(
        range(min(row["sequence"] for row in rows), min(row["sequence"] for row in rows) + len(rows))
    )
    (run,) = wandb_server.runs(project=PROJECT, job_type="inferences")
    assert run.state == "finished"
    assert [used.rpartition("/")[2] for used in wandb_server.lineage(run.path).used] == [f"sentiment:{first}"]

    (model / "notes.txt").write_text("another version")
    second = publish(wandb_as, model)
    assert second != first
    with serve(tmp_path / "one", wandb_server, MODEL_VERSION="latest", MODEL_LOADER=loader) as server:
        server.wait_until_ready()
        assert server.predict(TEXTS[0])["model"]["version"] == second
        assert server.terminate() == 0, server.output


@pytest.mark.e2e
def test_a_probe_opens_no_run(tmp_path, wandb_server, wandb_as):
    model = tmp_path / "model"
    models.tiny_onnx(model)
    publish(wandb_as, model)
    with serve(tmp_path / "one", wandb_server) as server:
        server.wait_until_ready()
        for path in ("/health/live", "/health/ready", "/api/v1/health", "/api/v1/model"):
            assert server.ask("GET", path)[0] == 200
        assert server.ask("POST", "/predict", {"text": "  "})[0] == 422
        assert server.terminate() == 0
    assert wandb_server.runs(project=PROJECT, job_type="inferences") == []


@pytest.mark.e2e
def test_a_pinned_server_starts_from_its_disk_when_wandb_is_gone(tmp_path, wandb_server, wandb_as):
    model = tmp_path / "model"
    models.tiny_onnx(model)
    version = publish(wandb_as, model)
    digest = wandb_server.artifact(f"{wandb_server.entity}/{PROJECT}/sentiment:{version}").digest
    pinned = {"MODEL_VERSION": version, "MODEL_DIGEST": digest}
    with serve(tmp_path / "one", wandb_server, **pinned) as server:
        server.wait_until_ready()
        assert server.terminate() == 0
    gone = pinned | {"WANDB_BASE_URL": "http://127.0.0.1:9"}
    with ServerProcess(
        tmp_path / "one", PROJECT_NAME=PROJECT, WANDB_ENTITY="acme", WANDB_API_KEY="k" * 40, **gone
    ) as server:
        server.wait_until_ready(30)
        assert server.predict(TEXTS[0])["model"] == {
            "name": "sentiment",
            "version": version,
            "digest": digest,
        }
        assert server.terminate() == 0, server.output


@pytest.mark.e2e
def test_kill_9_under_load_leaves_a_state_that_the_next_start_reads(tmp_path, wandb_server, wandb_as):
    model = tmp_path / "model"
    models.tiny_onnx(model)
    publish(wandb_as, model)
    with serve(tmp_path / "one", wandb_server) as server:
        server.wait_until_ready()
        for text in TEXTS:
            server.predict(text)
        server.process.kill()
        assert server.process.wait(10) == -9
    with serve(tmp_path / "one", wandb_server) as server:
        server.wait_until_ready()
        assert server.predict(TEXTS[0])["sentiment"]
        assert server.terminate() == 0, server.output
