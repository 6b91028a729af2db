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
        # A busy machine may need longer than Cloud Run allows to open a run; what bounds the end is tested elsewhere.
        SHUTDOWN_SECONDS="40",
        **variables,
    )


TEXT_LOADERS = [
    pytest.param("onnx", models.tiny_onnx, id="onnx"),
    pytest.param("joblib", models.tiny_joblib, id="joblib"),
    pytest.param("transformers", models.tiny_distilbert_tf, id="transformers", marks=pytest.mark.tensorflow),
    pytest.param(
        "keras",
        models.tiny_keras,
        id="keras",
        # Keras itself, while it writes the model.
        marks=[
            pytest.mark.tensorflow,
            pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
        ],
    ),
]


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("loader", "make_model"), TEXT_LOADERS)
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
        assert server.terminate(60) == 0, server.output

    assert [reply["sentiment"] for reply in replies] == [
        entry["sentiment"] for entry in listed["predictions"]
    ]
    expected = {reply["id"]: reply for reply in [*replies, *listed["predictions"]]}
    assert len(expected) == 2 * len(TEXTS)
    for row in rows_of_the_run(wandb_server, set(expected), first, digest):
        reply = expected[row["id"]]
        assert row["sentiment"] == reply["sentiment"]
        assert row["confidence_positive"] == pytest.approx(reply["confidences"]["positive"], abs=1e-4)
        assert row["text"] == reply["text"]
    for reply in [*replies, listed]:
        assert reply["model"] == {"name": "sentiment", "version": first, "digest": digest}

    next_version_is_served(tmp_path, wandb_server, wandb_as, loader, {"text": TEXTS[0]})


@pytest.mark.e2e
def test_the_same_for_a_class_of_ones_own(tmp_path, wandb_server, wandb_as):
    models.tiny_keyword(tmp_path / "model")
    first = publish(wandb_as, tmp_path / "model")
    digest = wandb_server.artifact(f"{wandb_server.entity}/{PROJECT}/sentiment:{first}").digest
    body = {"title": "Seen twice", "review": "A good , funny film"}
    with serve(tmp_path / "one", wandb_server, MODEL_LOADER=models.KEYWORD_LOADER) as server:
        server.wait_until_ready()
        status, reply = server.ask("POST", "/predict", body)
        assert (status, reply["verdict"], reply["hits"]) == (200, "positive", 2)
        assert server.terminate(60) == 0, server.output
    (row,) = rows_of_the_run(wandb_server, {reply["id"]}, first, digest)
    assert (row["sentiment"], row["hits"], row["text"]) == ("positive", 2, body["review"])
    next_version_is_served(tmp_path, wandb_server, wandb_as, models.KEYWORD_LOADER, body)


def rows_of_the_run(server: WandbServer, ids: set[str], version: str, digest: str) -> list[dict[str, Any]]:
    """Return the rows after holding what is the same for every loader: one each, in order, measured, with lineage."""
    (run,) = server.runs(project=PROJECT, job_type="inferences")
    assert run.state == "finished"
    assert [used.rpartition("/")[2] for used in server.lineage(run.path).used] == [f"sentiment:{version}"]
    rows = [row for row in server.rows(run.path) if "window/id" not in row]
    assert sorted(row["id"] for row in rows) == sorted(ids), "exactly one row an inference"
    assert len({row["instance"] for row in rows}) == 1
    first = rows[0]["sequence"]
    assert [row["sequence"] for row in rows] == list(range(first, first + len(rows))), "no gap"
    for row in rows:
        assert (row["model_version"], row["model_digest"], row["status"]) == (version, digest, 200)
        assert row["inference_ms"] >= 0
        assert row["queue_ms"] >= 0
    return rows


def next_version_is_served(
    tmp_path: Path, server: WandbServer, wandb_as: Callable[..., Any], loader: str, body: dict[str, str]
) -> None:
    (tmp_path / "model" / "notes.txt").write_text("another version")
    second = publish(wandb_as, tmp_path / "model")
    with serve(tmp_path / "one", server, MODEL_VERSION="latest", MODEL_LOADER=loader) as process:
        process.wait_until_ready()
        status, reply = process.ask("POST", "/predict", body)
        assert (status, reply["model"]["version"]) == (200, second)
        assert second == "v1"
        assert process.terminate() == 0, process.output


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
    wandb_server.set_fault("graphql", status=503)
    asked = len(wandb_server.calls("graphql"))
    with serve(tmp_path / "one", wandb_server, INFERENCE_LOG="false", **pinned) as server:
        server.wait_until_ready()
        assert server.predict(TEXTS[0])["model"] == {
            "name": "sentiment",
            "version": version,
            "digest": digest,
        }
        assert server.terminate(60) == 0, server.output
    assert len(wandb_server.calls("graphql")) == asked, "a pinned start asks nobody"


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
        assert server.terminate(60) == 0, server.output
