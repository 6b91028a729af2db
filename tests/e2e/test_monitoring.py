"""Monitoring from end to end: drift and truths reach W&B, and two workers are one to Prometheus and to feedback."""

import time
import urllib.request

import pytest

from tests.e2e.server_process import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TEXTS = ("A warm and funny film.", "Dull from start to finish.")


def counted(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def metrics(server: ServerProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as reply:
        return str(reply.read().decode())


def test_drift_windows_and_truths_reach_wandb(wandb_server, tmp_path):
    variables = {
        "MODEL_SOURCE": "embedded",
        "INFERENCE_PROJECT_NAME": "reviews",
        "WANDB_ENTITY": wandb_server.entity,
        "WANDB_API_KEY": wandb_server.api_key,
        "WANDB_BASE_URL": wandb_server.url,
        "DRIFT_MINIMUM": "20",
    }
    with ServerProcess(tmp_path, **variables) as server:
        server.wait_until_ready()
        ids = [server.predict(TEXTS[index % 2])["id"] for index in range(24)]
        assert (
            server.ask("POST", "/api/v1/feedback", {"id": ids[0], "label": "negative"})[1]["right"] is False
        )
        deadline = time.monotonic() + 60
        while "drift:tokens began" not in server.output and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.output.count("drift:tokens began") == 1
        assert server.terminate(60) == 0
    (run,) = wandb_server.runs()
    rows = run.rows
    assert {row["id"] for row in rows if row.get("kind") != "feedback" and "id" in row} == set(ids)
    (truth,) = [row for row in rows if row.get("kind") == "feedback"]
    assert (truth["prediction_id"], truth["truth"], truth["prediction"]) == (ids[0], "negative", "positive")
    windows = [row for row in rows if "window/start" in row]
    assert sum(window["window/predictions"] for window in windows) == 24
    assert windows[-1]["window/drifted/tokens"] == 1
    assert [alert["title"] for alert in run.alerts].count("drift:tokens began") == 1


def test_two_workers_are_one(tmp_path):
    with ServerProcess(tmp_path, MODEL_SOURCE="embedded", INFERENCE_LOG="false", WORKERS="2") as server:
        server.wait_until_ready()
        deadline = time.monotonic() + 120
        while server.output.count("golden examples") < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        ids = [server.predict(TEXTS[index % 2])["id"] for index in range(30)]
        for prediction_id in ids:
            status, joined = server.ask(
                "POST", "/api/v1/feedback", {"id": prediction_id, "label": "positive"}
            )
            assert status == 200, joined
        # Each worker writes down what it counted every two seconds.
        deadline = time.monotonic() + 30
        while counted(metrics(server), "marquee_predictions_total{") < 30 and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2.5)
        for text in (metrics(server), metrics(server)):
            assert counted(text, "marquee_predictions_total{") == 30
            assert counted(text, "marquee_feedback_total{") == 30
            assert counted(text, "marquee_ready") == 1
        assert server.terminate(60) == 0
