"""`/metrics`: what was asked is counted by route, whatever the path, and several workers are one."""

import json
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[4]


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def count(found: dict[str, float], method: str, route: str, status: int) -> float:
    labels = json.dumps({"method": method, "route": route, "status": str(status)}, sort_keys=True)
    return found.get(f"http_requests_total{labels}", 0)


def test_requests_are_counted_by_route_and_status(client):
    client.post("/predict", json={"text": "A good film."})
    client.post("/predict/", json={"text": "A good film."})
    client.post("/predict", json={"text": 5})
    client.post("/api/v1/predict", json={"text": "explode"})
    client.get("/predict?text=good")
    client.get("/health/ready")
    client.request("HEAD", "/health/ready")
    for path in ("/nowhere", "/%00", "/" + "x" * 5_000):
        client.get(path)
    client.request("BREW", "/predict")
    reply = client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(reply.text)
    assert count(found, "POST", "/predict", 200) == 2
    assert count(found, "POST", "/predict", 422) == 1
    assert count(found, "POST", "/api/v1/predict", 500) == 1
    assert count(found, "GET", "/predict", 200) == 1
    assert count(found, "GET", "/health/ready", 200) == 2
    assert count(found, "GET", "other", 404) == 3
    assert 'method="BREW"' not in reply.text
    assert found['marquee_predictions_total{"label": "positive"}'] == 2 + 1
    assert found['marquee_prediction_errors_total{"kind": "prediction-failed"}'] == 1
    digest = client.service.server.files.model.digest
    labels = json.dumps({"name": "words", "version": "local", "digest": digest}, sort_keys=True)
    assert found[f"marquee_model_info{labels}"] == 1


def test_a_path_under_a_proxy_is_the_same_route(make_client):
    client = make_client(root_path="/sentiment")
    client.get("/sentiment/health/live")
    assert count(samples(client.get("/sentiment/metrics").text), "GET", "/health/live", 200) == 1


def test_nothing_of_what_was_sent_is_in_it(client):
    client.post("/predict", json={"text": "A good secretive film."})
    client.get("/secretive-path?text=secretive")
    assert "secretive" not in client.get("/metrics").text


WORKER = """
import sys
from app.core.config import Settings
from app.services.monitoring import Monitor

class Log:
    def record_window(self, values): pass
    def alert(self, title, text, level="WARN"): pass
    def health(self): return {"state": "ok", "received": 4, "confirmed": 4, "dropped": {"disk-full": 1}, "waiting": 2}

monitor = Monitor(Settings(_env_file=None), Log(), lambda: (("sentiment", sys.argv[1], "d"), True, 3, 1))
for _ in range(int(sys.argv[2])):
    monitor.observe({"sentiment": "Positive", "tokens": 10})
    monitor.observe_request("POST", "/predict", 200, 0.01, prediction=True)
monitor.metrics()
print("counted", flush=True)
sys.stdin.read()  # Until the other has counted, too.
sys.stdout.buffer.write(monitor.metrics())
"""


def test_any_worker_answers_for_all(tmp_path):
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, "v7", str(number)],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in (5, 7)
    ]
    try:
        assert [worker.stdout.readline() for worker in workers] == [b"counted\n"] * 2
        texts = []
        for worker in workers:
            worker.stdin.close()
            texts.append(worker.stdout.read().decode())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(20)
            worker.stdout.close()
            worker.stdin.close()
    for found in map(samples, texts):
        assert found['marquee_predictions_total{"label": "positive"}'] == 12
        assert count(found, "POST", "/predict", 200) == 12
        assert found['marquee_inference_log_dropped_total{"reason": "disk-full"}'] == 2
        assert found["http_requests_in_progress{}"] == 6
        assert found['marquee_model_info{"digest": "d", "name": "sentiment", "version": "v7"}'] == 1
        assert found["marquee_ready{}"] == 1
        assert found["marquee_prediction_tokens_sum{}"] == 120
        assert found["process_resident_memory_bytes{}"] > 2e7
