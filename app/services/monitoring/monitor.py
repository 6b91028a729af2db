"""The monitor: events go into a queue in less than a microsecond, a thread of its own turns them into figures.

Whoever reads the figures (``/metrics``, the page, a test) first takes in what is queued, so that they are up to date.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loguru import logger

from app.core.config import Settings
from app.services.artifact import ModelFiles
from app.services.feedback import IssuedId
from app.services.monitoring.accuracy import Judged, LiveAccuracy
from app.services.monitoring.drift import SIGNALS, Drift, DriftWatch, signals_of
from app.services.monitoring.observation import observe
from app.services.monitoring.recent import RecentPredictions
from app.services.monitoring.standards import SECONDS, Standard, judge
from app.services.monitoring.states import Sink, States
from app.services.monitoring.window_row import window_row
from app.services.monitoring.windows import WINDOW_SECONDS, Timeline, Window

if TYPE_CHECKING:
    from app.services.monitoring.metrics import Metrics

QUEUE = 20_000
"""Events that may wait for the thread; further ones are dropped and counted."""
_CHECK_EVERY = 10
"""Predictions after which the window is compared with the reference again."""
_TICK_SECONDS = 2.0
_AT_ONCE = 20
_PAUSE_SECONDS = 0.001
"""After so many events the thread rests: it would keep the interpreter from requests for as long as it has work."""
_KEPT_CHARACTERS = 800
"""Of a text, to guess its language, and to mask an address that begins within what is shown."""

Serving = Callable[[], tuple[tuple[str, str, str] | None, bool, int, int]]
"""Returns the model (name, version, digest), whether it is ready, open requests and waiting predictions."""


class Monitor:
    """Windows, drift, live accuracy, standards and metrics of one instance; safe to call from any thread."""

    def __init__(self, settings: Settings, sink: Sink, serving: Serving | None = None) -> None:
        """Remember the parts; the thread starts with the first event.

        Args:
            settings: the configuration.
            sink: where windows and alerts go: the inference log.
            serving: tells what is served; asked now and then.
        """
        self._settings = settings
        self._sink = sink
        self.serving = serving
        self._files: ModelFiles | None = None
        self._reset()
        monitor = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _after_fork(monitor))

    def start(self, files: ModelFiles) -> None:
        """Measure drift against this model's reference from now on; called again after a swap."""
        self._put(("model", files, time.time()))

    def observe(self, row: dict[str, Any]) -> None:
        """Take one row of the inference log, as the model's class wrote it. Takes a microsecond; never raises."""
        text = row.get("text")
        # A queue of whole texts could fill the memory.
        kept = {**row, "text": text[:_KEPT_CHARACTERS]} if isinstance(text, str) else row
        self._put(("row", kept, time.time()))

    def observe_request(
        self, method: str, route: str, status: int, seconds: float, *, prediction: bool
    ) -> None:
        """Take an answered request; `status` 0 is one without an answer. Never raises."""
        self._put(("request", (method, route, status, seconds, prediction), time.time()))

    def count_error(self, kind: str) -> None:
        """Count a request for a prediction that ended without one. Never raises."""
        self._put(("error", kind, time.time()))

    def judge(self, truth: str, issued: IssuedId) -> None:
        """Count a prediction and its truth. Never raises."""
        self._put(("judged", (Judged(truth, issued.label, issued.confidence), issued.version), time.time()))

    def count_repeated(self) -> None:
        """Count feedback that was there before. Never raises."""
        self._put(("repeated", None, time.time()))

    def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text form. May take milliseconds: not for the event loop."""
        with self._lock:
            self._tick()
            return self._made_metrics().text()

    def report(self) -> dict[str, Any]:
        """Return what the page shows, as JSON. May take milliseconds: not for the event loop."""
        with self._lock:
            self._tick()
            now = time.time()
            return {
                "now": now,
                "window_seconds": WINDOW_SECONDS,
                "standards": [entry.summary() for entry in self._standards],
                "states": self.states.summary(),
                "changes": [
                    {
                        "name": change.name,
                        "active": change.active,
                        "time": change.time,
                        "detail": change.detail,
                    }
                    for change in reversed(self.states.changes)
                ],
                "drift": [entry.summary() for entry in self._drift],
                "accuracy": self._accuracy.summary(),
                "recent": self._timeline.last(now, SECONDS).summary(),
                "windows": [window.summary() for window in self._timeline.since(0)],
                "predictions": self._recent.summary(),
                "dropped_events": self._dropped,
            }

    def stop(self) -> None:
        """Take in what is queued and hand over the last window; events that come later are ignored."""
        self._stopping.set()
        if self._thread is None and not self._events:
            return
        with self._lock:
            self._tick()
            self._send_windows(float("inf"))

    def check(self) -> list[Drift]:
        """Take in what is queued and return what the window says about each signal."""
        with self._lock:
            self._take_in()
            self._check_drift()
            return self._drift

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._events: deque[tuple[str, Any, float]] = deque()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._metrics: Metrics | None = None
        self._dropped = 0
        self._told_dropped = 0
        self._timeline = Timeline()
        self._sent_until = 0.0
        self._accuracy = LiveAccuracy()
        self._recent = RecentPredictions(self._settings)
        self.states = States(self._sink)
        self._since_check = 0
        self._watch = self._new_watch()
        self._drift: list[Drift] = self._watch.check()
        self._standards: list[Standard] = judge(self._settings, Window(0), self._accuracy)

    def _new_watch(self) -> DriftWatch:
        reference = self._files.manifest.reference if self._files else {}
        return DriftWatch(signals_of(reference), self._settings.drift_window, self._settings.drift_minimum)

    def _put(self, event: tuple[str, Any, float]) -> None:
        if len(self._events) >= QUEUE:
            self._dropped += 1
            return
        self._events.append(event)
        if self._thread is None and not self._stopping.is_set():
            self._start_thread()

    def _start_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="monitor", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # No more threads; the next event tries again.
                    logger.debug("the monitor's thread could not be started: {}", error)
                    return
                self._thread = thread

    def _work(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                while len(self._events) > _AT_ONCE and not self._stopping.wait(_PAUSE_SECONDS):
                    with self._lock:
                        self._take_in(_AT_ONCE)
                with self._lock:
                    self._tick()
            except Exception as error:  # noqa: BLE001 - a fault of the monitor must not end it
                logger.opt(exception=error).error("the monitor failed: {}", type(error).__name__)

    def _tick(self) -> None:
        metrics = self._made_metrics()
        self._take_in()
        now = time.time()
        self._check_drift()
        self._standards = judge(self._settings, self._timeline.last(now, SECONDS), self._accuracy)
        for standard in self._standards:
            self.states.set(f"standard:{standard.name}", standard.missed, standard.detail)
        health = self._sink.health()
        self.states.set(
            "inference log", health.get("state") == "degraded", str(health.get("reason") or "it works again")
        )
        self._send_windows(now)
        if self.serving is not None:
            model, ready, open_requests, waiting = self.serving()
            metrics.serving(model, ready)
            metrics.load(open_requests, waiting)
        metrics.drift(self._drift)
        metrics.standards(self._standards)
        metrics.accuracy(self._accuracy)
        metrics.log(health)
        metrics.process()
        metrics.missed(self._dropped - self._told_dropped)
        self._told_dropped = self._dropped

    def _made_metrics(self) -> "Metrics":
        if self._metrics is None:
            from app.services.monitoring.metrics import Metrics

            self._metrics = Metrics()
        return self._metrics

    def _take_in(self, most: int = QUEUE) -> None:
        metrics = self._made_metrics()
        for _ in range(min(most, len(self._events))):
            kind, content, when = self._events.popleft()
            try:
                self._take(metrics, kind, content, when)
            except Exception as error:  # noqa: BLE001 - one row that a custom class wrote must not stop the others
                self._dropped += 1
                logger.debug("the monitor could not read an event: {}", type(error).__name__)

    def _take(self, metrics: "Metrics", kind: str, content: Any, when: float) -> None:
        window = self._timeline.at(when)
        if kind == "row":
            seen = observe(content)
            window.add(seen)
            metrics.prediction(seen)
            if self._files is not None and content.get("model_digest") == self._files.model.digest:
                self._watch.add(seen.signals())
            self._recent.add(content, when, seen)
            self._since_check += 1
            if self._since_check >= _CHECK_EVERY:
                self._check_drift()
        elif kind == "request":
            method, route, status, seconds, prediction = content
            metrics.request(method, route, status, seconds)
            if prediction:
                window.add_request(status, seconds * 1000)
        elif kind == "error":
            window.errors[content] += 1
            metrics.error(content)
        elif kind == "judged":
            judged, version = content
            self._accuracy.add(judged, version)
            metrics.judged("right" if judged.right else "wrong")
        elif kind == "repeated":
            metrics.judged("repeated")
        else:
            self._follow(content)

    def _follow(self, files: ModelFiles) -> None:
        """Measure drift against another model's reference, from nothing."""
        self._files = files
        self._watch = self._new_watch()
        self._drift = self._watch.check()
        for name in SIGNALS:
            self.states.set(f"drift:{name}", active=False, detail="another model is served")

    def _check_drift(self) -> None:
        self._since_check = 0
        self._drift = self._watch.check()
        for entry in self._drift:
            if entry.index is None:
                continue
            self.states.set(
                f"drift:{entry.signal.name}",
                entry.drifted,
                f"stability index {entry.index:.3f} over the last {entry.rows} predictions, "
                f"threshold {entry.threshold:.3f}",
            )

    def _send_windows(self, now: float) -> None:
        """Hand the minutes that are over to the inference log, from the first prediction on: it begins the run."""
        if not self._recent:
            return
        for window in self._timeline.since(self._sent_until):
            if window.start + WINDOW_SECONDS > now:
                break
            self._sent_until = window.start + WINDOW_SECONDS
            if window.predictions or window.errors:
                version = self._files.model.version if self._files else None
                self._sink.record_window(window_row(window, self._drift, self._accuracy.window, version))


def _after_fork(monitor: "weakref.ref[Monitor]") -> None:
    if (found := monitor()) is not None:
        found._reset()
