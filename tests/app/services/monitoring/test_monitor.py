"""The monitor: quick for the request, right when it is read, and it tells each change once."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.core.config import Settings
from app.services.artifact import Manifest, ModelFiles, ModelVersion
from app.services.feedback import IssuedId
from app.services.monitoring import Monitor
from app.services.monitoring import monitor as module

REFERENCE = {
    "rows": 1000,
    "label": {"negative": 0.5, "positive": 0.5},
    "tokens": {"edges": [0, 100], "shares": [0.5, 0.5]},
}


class Sink:
    """An inference log that remembers."""

    def __init__(self) -> None:
        self.windows: list[dict[str, Any]] = []
        self.alerts: list[tuple[str, str]] = []
        self.state = "ok"

    def record_window(self, values: dict[str, Any]) -> None:
        self.windows.append(values)

    def alert(self, title: str, text: str, level: str = "WARN") -> None:
        self.alerts.append((title, level))

    def health(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "reason": "W&B is away",
            "received": 5,
            "confirmed": 3,
            "waiting": 2,
            "dropped": {},
        }


def files(version: str = "v1") -> ModelFiles:
    return ModelFiles(
        Path(),
        ModelVersion("tiny", version, version * 16),
        "local",
        Manifest(reference=REFERENCE),
        has_manifest=True,
    )


def row(index: int = 0, version: str = "v1", **changes: Any) -> dict[str, Any]:
    positive = 0.9 if index % 2 else 0.1
    return {
        "text": "The film was fine and so was the cast.",
        "confidence_negative": 1 - positive,
        "confidence_positive": positive,
        "characters": 38,
        "tokens": 50 if index % 4 < 2 else 200,
        "queue_ms": 1.0,
        "inference_ms": 12.0,
        "batch_size": 1,
        "model_version": version,
        "model_digest": version * 16,
    } | changes


def issued(label: str, version: str = "v1") -> IssuedId:
    return IssuedId(b"", 0, label, 0.9, version)


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def monitor(sink):
    found = Monitor(Settings(_env_file=None, drift_window=100), sink)
    found.start(files())
    yield found
    found.stop()


def values(monitor: Monitor) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(monitor.metrics().decode())
        for sample in family.samples
    }


def test_what_was_observed_is_in_the_metrics_at_once(monitor):
    for index in range(10):
        monitor.observe(row(index))
    monitor.observe_request("POST", "/predict", 200, 0.03, prediction=True)
    monitor.count_error("overloaded")
    found = values(monitor)
    assert found["marquee_predictions_total", "positive"] == 5
    assert found["http_requests_total", "POST", "/predict", "200"] == 1
    assert found["marquee_prediction_errors_total", "overloaded"] == 1
    assert found["marquee_prediction_tokens_sum",] == 6 * 50 + 4 * 200
    assert found["marquee_inference_log_rows_total", "confirmed"] == 3
    assert found["process_resident_memory_bytes",] > 1e6


def test_drift_begins_and_ends_once_each(monitor, sink, log_records):
    for index in range(100):
        monitor.observe(row(index))
    assert not any(entry.drifted for entry in monitor.check())
    for _ in range(3):
        for index in range(100):
            monitor.observe(row(index, tokens=5))
        monitor.check()
    for index in range(200):
        monitor.observe(row(index))
    monitor.check()
    assert sink.alerts == [("drift:tokens began", "WARN"), ("drift:tokens ended", "INFO")]
    lines = [record for record in log_records if "drift:tokens" in record["message"]]
    assert [record["level"].name for record in lines] == ["WARNING", "WARNING"]
    assert "index" in lines[0]["message"]


def test_another_model_starts_from_nothing_and_old_rows_do_not_count(monitor, sink):
    for index in range(100):
        monitor.observe(row(index, tokens=5))
    monitor.check()
    monitor.start(files("v2"))
    monitor.observe(row(0, "v1"))
    monitor.observe(row(0, "v2"))
    assert [entry.rows for entry in monitor.check()] == [1, 1]
    assert sink.alerts == [("drift:tokens began", "WARN"), ("drift:tokens ended", "INFO")]


def test_accuracy_below_the_standard_is_told_once(monitor, sink):
    for _ in range(49):
        monitor.judge("negative", issued("positive"))
    monitor.report()
    assert sink.alerts == []
    for _ in range(20):
        monitor.judge("negative", issued("positive", "v2"))
    report = monitor.report()
    assert sink.alerts == [("standard:accuracy began", "WARN")]
    assert report["accuracy"]["versions"]["v1"]["rows"] == 49
    assert report["accuracy"]["versions"]["v2"]["accuracy"] == 0
    assert report["states"][0]["name"] == "standard:accuracy"


def test_a_few_wrong_answers_are_no_news(monitor, sink):
    for index in range(60):
        monitor.judge("positive" if index % 5 else "negative", issued("positive"))
    assert monitor.report()["accuracy"]["window"]["accuracy"] == pytest.approx(0.8)
    assert sink.alerts == []


@pytest.mark.parametrize(("status", "seconds", "standard"), [(500, 0.01, "errors"), (200, 3.0, "latency")])
def test_missed_standards_are_told_once(monitor, sink, status, seconds, standard):
    for _ in range(60):
        monitor.observe_request("POST", "/predict", status, seconds, prediction=True)
    monitor.report()
    monitor.report()
    assert sink.alerts == [(f"standard:{standard} began", "WARN")]


def test_requests_of_people_and_probes_are_held_to_no_standard(monitor, sink):
    for _ in range(60):
        monitor.observe_request("GET", "/monitor", 500, 9, prediction=False)
    monitor.report()
    assert sink.alerts == []


def test_a_degraded_log_is_told_once(monitor, sink):
    sink.state = "degraded"
    monitor.report()
    monitor.report()
    sink.state = "ok"
    monitor.report()
    assert sink.alerts == [("inference log began", "WARN"), ("inference log ended", "INFO")]


def test_each_minute_is_handed_over_once(monitor, sink, monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(module.time, "time", lambda: now)
    for index in range(4):
        monitor.observe(row(index))
    monitor.report()
    assert sink.windows == []
    now += 61
    monitor.report()
    monitor.report()
    (window,) = sink.windows
    assert window["window/predictions"] == 4
    assert window["window/label_share/positive"] == 0.5
    assert window["window/queue_ms/p99"] == pytest.approx(1, rel=0.11)
    assert window["window/model_version"] == "v1"
    assert all(isinstance(value, (int, float, str)) for value in window.values())
    now += 600
    monitor.report()
    assert len(sink.windows) == 1


def test_the_last_window_is_handed_over_at_the_end(sink):
    monitor = Monitor(Settings(_env_file=None), sink)
    monitor.observe(row())
    monitor.stop()
    assert [window["window/predictions"] for window in sink.windows] == [1]
    monitor.stop()
    assert len(sink.windows) == 1


def test_failures_alone_begin_no_run_and_are_told_with_the_first_prediction(sink, monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(module.time, "time", lambda: now)
    monitor = Monitor(Settings(_env_file=None), sink)
    monitor.count_error("invalid-input")
    now += 61
    monitor.report()
    assert sink.windows == []
    monitor.observe(row())
    now += 61
    monitor.report()
    assert [window.get("window/errors/invalid-input") for window in sink.windows] == [1, None]
    monitor.stop()


def test_an_idle_monitor_starts_no_thread_and_writes_nothing(sink):
    monitor = Monitor(Settings(_env_file=None), sink)
    monitor.stop()
    assert sink.windows == []
    assert monitor._thread is None


def test_it_works_by_itself_where_nobody_reads(sink, monkeypatch):
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.05)
    sink.state = "degraded"
    monitor = Monitor(Settings(_env_file=None), sink)
    monitor.observe(row())
    deadline = time.monotonic() + 20
    while not sink.alerts and time.monotonic() < deadline:
        time.sleep(0.02)
    monitor.stop()
    assert sink.alerts == [("inference log began", "WARN")]


def test_it_never_raises_and_counts_what_it_cannot_take(monitor, monkeypatch):
    monitor.observe({"text": None, "tokens": float("nan"), 5: 6})
    monitor.observe({"confidence_a": float("nan")})
    monkeypatch.setattr(module, "QUEUE", 5)
    for index in range(20):
        monitor.observe(row(index))
    assert 0 < monitor.report()["dropped_events"] <= 20
    assert values(monitor)["marquee_monitor_dropped_total",] >= 15


def test_long_texts_are_not_kept(monitor):
    monitor.observe(row(text="x" * 100_000))
    assert all(len(content["text"]) <= 1_000 for kind, content, _ in monitor._events if kind == "row")


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ("masked", "Write to [email] now."),
        ("full", "Write to ann@example.org now."),
        ("none", None),
        ("hash", None),
    ],
)
def test_the_last_predictions_show_texts_as_the_log_keeps_them(sink, mode, shown):
    monitor = Monitor(Settings(_env_file=None, log_text=mode), sink)
    monitor.observe(row(text="Write to ann@example.org now."))
    (prediction,) = monitor.report()["predictions"]
    assert prediction["text"] == shown
    monitor.stop()


def test_the_last_predictions_are_few_and_newest_first(monitor):
    for index in range(100):
        monitor.observe(row(tokens=index))
    assert [entry["tokens"] for entry in monitor.report()["predictions"]] == list(range(99, 79, -1))


def test_threads_lose_no_event(monitor):
    def work() -> None:
        for index in range(500):
            monitor.observe(row(index))
            monitor.observe_request("POST", "/predict", 200, 0.01, prediction=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        monitor.metrics()
    found = values(monitor)
    assert (
        found["marquee_predictions_total", "positive"] + found["marquee_predictions_total", "negative"]
        == 2_000
    )
    assert found["http_requests_total", "POST", "/predict", "200"] == 2_000
