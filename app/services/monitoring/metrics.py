"""The metrics of ``/metrics``. Each is described in docs/monitoring.md, which a test holds to this file.

The client library is imported by whoever makes `Metrics`: the monitor's own thread, so that a cold start does not pay.
With PROMETHEUS_MULTIPROC_DIR set, each worker writes its values to files there, and any of them answers for all.
"""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.multiprocess import MultiProcessCollector

from app import __version__
from app.services.monitoring.accuracy import LiveAccuracy
from app.services.monitoring.drift import SIGNALS, Drift
from app.services.monitoring.observation import Observation
from app.services.monitoring.process import process_figures
from app.services.monitoring.standards import Standard
from app.services.monitoring.windows import count_bounded

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_CONFIDENCE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_OUTCOMES = ("received", "confirmed")
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        """Register them in a registry of their own, so that several apps may live in one process."""
        # When a counter was made is a series more for each of them, and several workers cannot tell it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._last: Counter[tuple[str, str]] = Counter()
        self._labels: Counter[str] = Counter()
        self._served: tuple[str, str, str] | None = None
        self._make_request_metrics()
        self._make_prediction_metrics()
        self._make_judgement_metrics()
        self._make_state_metrics()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; status 0 is one without an answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._duration.labels(route).observe(seconds)

    def error(self, kind: str) -> None:
        """Count a request for a prediction that ended without one."""
        self._errors.labels(kind).inc()

    def prediction(self, seen: Observation) -> None:
        """Count a prediction."""
        label = count_bounded(self._labels, seen.label or "none")
        self._predictions.labels(label).inc()
        self._queue.observe(seen.queue_ms / 1000)
        self._inference.observe(seen.inference_ms / 1000)
        self._batch.observe(seen.batch_size)
        if seen.confidence is not None:
            self._confidence.observe(seen.confidence)
        if seen.tokens is not None:
            self._tokens.observe(seen.tokens)
        if seen.unknown_tokens:
            self._unknown.inc(seen.unknown_tokens)
        if seen.truncated:
            self._truncated.inc()

    def judged(self, outcome: str) -> None:
        """Count feedback: ``right``, ``wrong`` or ``repeated``."""
        self._feedback.labels(outcome).inc()

    def missed(self, count: int) -> None:
        """Count events that the monitor had no room for."""
        self._missed.inc(count)

    def serving(self, model: tuple[str, str, str] | None, ready: bool) -> None:
        """Say which model is served (name, version, digest) and whether it may be asked."""
        self._ready.set(ready)
        if model != self._served and self._served is not None:
            self._model.labels(*self._served).set(0)
        self._served = model
        if model is not None:
            self._model.labels(*model).set(1)

    def load(self, open_requests: int, waiting: int) -> None:
        """Set what is in progress."""
        self._in_progress.set(open_requests)
        self._waiting.set(waiting)

    def drift(self, found: Sequence[Drift]) -> None:
        """Set what the window says about each signal."""
        known = {entry.signal.name: entry for entry in found}
        for name in SIGNALS:
            entry = known.get(name)
            self._drift_rows.labels(name).set(entry.rows if entry else 0)
            self._drifted.labels(name).set(entry.drifted if entry else 0)
            self._drift.labels(name).set(entry.index or 0 if entry else 0)
            self._drift_threshold.labels(name).set(entry.threshold or 0 if entry else 0)

    def standards(self, found: Sequence[Standard]) -> None:
        """Set whether each standard is missed."""
        for entry in found:
            self._missing.labels(entry.name).set(entry.missed)
            self._limit.labels(entry.name).set(entry.limit)

    def accuracy(self, live: LiveAccuracy) -> None:
        """Set the rolling figures where there is feedback."""
        self._accuracy_rows.set(live.window.rows)
        if live.window.accuracy is not None:
            self._accuracy.set(live.window.accuracy)
        if live.window.calibration_error is not None:
            self._calibration.set(live.window.calibration_error)

    def log(self, health: dict[str, Any]) -> None:
        """Follow the inference log's counters and state."""
        for outcome in _OUTCOMES:
            self._follow(self._log_rows.labels(outcome), outcome, health.get(outcome))
        for reason, count in (health.get("dropped") or {}).items():
            self._follow(self._log_dropped.labels(reason), f"dropped {reason}", count)
        self._log_waiting.set(_number(health.get("waiting")))
        self._log_spool.set(_number((health.get("spool") or {}).get("bytes")))
        self._log_degraded.set(health.get("state") == "degraded")

    def process(self) -> None:
        """Follow what the process uses."""
        figures = process_figures()
        if figures:
            self._memory.set(figures["process_resident_memory_bytes"])
            self._files.set(figures["process_open_fds"])
            self._follow(self._cpu, "cpu", figures["process_cpu_seconds"])

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text form; those of all workers where there are several."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _follow(self, counter: PrometheusCounter, key: str, total: Any) -> None:
        """Raise a counter to a total that is counted elsewhere. That may fall, as counters may not."""
        value = _number(total)
        if value > (last := self._last["total", key]):
            counter.inc(value - last)
            self._last["total", key] = value  # type: ignore[assignment]  # typeshed's Counter holds whole numbers only

    def _make_request_metrics(self) -> None:
        self._requests = self._counter(
            "http_requests_total", "Answered requests.", "method", "route", "status"
        )
        self._duration = self._histogram(
            "http_request_duration_seconds",
            "From the request's first line to the end of its reply.",
            _SECONDS,
            "route",
        )
        self._in_progress = self._gauge(
            "http_requests_in_progress", "Requests that wait for their reply.", "livesum"
        )
        self._errors = self._counter(
            "marquee_prediction_errors_total", "Requests for a prediction that ended without one.", "kind"
        )

    def _make_prediction_metrics(self) -> None:
        self._predictions = self._counter("marquee_predictions_total", "Predictions, by label.", "label")
        self._queue = self._histogram(
            "marquee_prediction_queue_seconds", "From arrival until the worker took it.", _SECONDS
        )
        self._inference = self._histogram(
            "marquee_prediction_inference_seconds", "In the model, preparation included.", _SECONDS
        )
        self._batch = self._histogram("marquee_prediction_batch_size", "Predictions made together.", _BATCH)
        self._confidence = self._histogram(
            "marquee_prediction_confidence", "Probability of the predicted label.", _CONFIDENCE
        )
        self._tokens = self._histogram("marquee_prediction_tokens", "Tokens of a text.", _TOKENS)
        self._unknown = self._counter(
            "marquee_unknown_tokens_total", "Tokens that the vocabulary does not know."
        )
        self._truncated = self._counter(
            "marquee_truncated_texts_total", "Texts of which a part was not read."
        )
        self._waiting = self._gauge("marquee_waiting_predictions", "In line or being predicted.", "livesum")

    def _make_judgement_metrics(self) -> None:
        self._drift = self._gauge(
            "marquee_drift_index", "Population stability index against the reference.", "livemax", "signal"
        )
        self._drift_threshold = self._gauge(
            "marquee_drift_threshold", "What the index is held to.", "livemax", "signal"
        )
        self._drifted = self._gauge(
            "marquee_drift_active", "Whether a signal has drifted.", "livemax", "signal"
        )
        self._drift_rows = self._gauge(
            "marquee_drift_window_rows", "Predictions in the window.", "livemax", "signal"
        )
        self._feedback = self._counter(
            "marquee_feedback_total", "Truths that came: right, wrong, repeated.", "outcome"
        )
        for outcome in ("right", "wrong", "repeated"):
            self._feedback.labels(outcome)
        self._accuracy = self._gauge(
            "marquee_live_accuracy", "Share of right predictions of the last 500 with feedback.", "livemin"
        )
        self._accuracy_rows = self._gauge("marquee_live_accuracy_rows", "Of how many it is made.", "livesum")
        self._calibration = self._gauge(
            "marquee_live_calibration_error", "Expected calibration error of the same.", "livemax"
        )
        self._missing = self._gauge(
            "marquee_standard_missed", "Whether a standard is not met.", "livemax", "standard"
        )
        self._limit = self._gauge(
            "marquee_standard_limit", "What the standard is: ms, share, share.", "livemax", "standard"
        )

    def _make_state_metrics(self) -> None:
        self._ready = self._gauge("marquee_ready", "Whether predictions are answered.", "livemin")
        self._model = self._gauge(
            "marquee_model_info",
            "1 for the model in the labels; 0 for one before it.",
            "livemax",
            "name",
            "version",
            "digest",
        )
        build = self._gauge("marquee_build_info", "Always 1; the release in the label.", "livemax", "version")
        build.labels(__version__).set(1)
        self._log_rows = self._counter(
            "marquee_inference_log_rows_total", "Rows that were received, and that W&B has.", "outcome"
        )
        for outcome in _OUTCOMES:
            self._log_rows.labels(outcome)
        self._log_dropped = self._counter(
            "marquee_inference_log_dropped_total", "Rows that W&B does not get.", "reason"
        )
        self._log_waiting = self._gauge("marquee_inference_log_waiting_rows", "Rows on their way.", "livesum")
        self._log_spool = self._gauge("marquee_inference_log_spool_bytes", "Size of the spool.", "livesum")
        self._log_degraded = self._gauge(
            "marquee_inference_log_degraded", "Whether it is in trouble.", "livemax"
        )
        self._missed = self._counter(
            "marquee_monitor_dropped_total", "Events that the monitor itself had no room for."
        )
        self._memory = self._gauge("process_resident_memory_bytes", "Resident memory.", "livesum")
        self._files = self._gauge("process_open_fds", "Open files.", "livesum")
        self._cpu = self._counter("process_cpu_seconds_total", "User and system time.")

    def _counter(self, name: str, text: str, *labels: str) -> PrometheusCounter:
        return PrometheusCounter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, mode: Any, *labels: str) -> Gauge:
        """Make a gauge; `mode` says how the values of several workers become one."""
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
