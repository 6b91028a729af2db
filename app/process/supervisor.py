"""Several processes that serve from one socket: started, watched, started again, stopped.

Each worker is a program of its own, never a fork of one that has imported something: threads and locks of numerical
libraries do not survive that. The first one loads the model alone, so that it is downloaded once and the others take
exactly the same version.
"""

import contextlib
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from loguru import logger

from app.core.config import Settings
from app.core.errors import StartupError
from app.core.folders import ensure_writable, scratch_folder
from app.process.worker_process import WorkerProcess

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
_SLACK_SECONDS = 1.0
"""What a worker gets beyond its own time to stop before it is killed. Cloud Run kills everything after 10 s."""
_TICK_SECONDS = 0.5
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 60.0
"""A worker that lived so long starts its successors' pauses from the beginning."""


class Supervisor:
    """The parent of the workers."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        """Serve on `listener` with as many workers as the settings name."""
        self._settings = settings
        self._listener = listener
        self._workers: list[WorkerProcess] = []
        self._due: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._environment = dict(os.environ)
        self._all_started = False
        self._stopping = False

    def run(self) -> int:
        """Serve until a signal comes, or until the workers cannot start; return the exit code."""
        with _signals() as woken:
            try:
                ensure_writable(self._settings.state_dir, "STATE_DIR", private=True)
                with scratch_folder(self._settings.state_dir) as folder:
                    self._environment |= _shared_environment(self._settings) | {MULTIPROCESS: str(folder)}
                    return self._serve(woken)
            except StartupError as error:
                logger.critical("{}", error)
                return 1
            finally:
                self._listener.close()

    def _serve(self, woken: socket.socket) -> int:
        self._start(1)
        try:
            while not self._stopping:
                self._wait(woken)
                self._look()
                self._start_what_is_due()
        except StartupError:
            self._stop()
            raise
        return 0 if self._stop() else 1

    def _wait(self, woken: socket.socket) -> None:
        """Sleep until a signal comes, a worker says something, or a pause is over."""
        pause = min([_TICK_SECONDS, *(due - time.monotonic() for due in self._due.values())])
        channels = [woken.fileno(), *(worker.channel for worker in self._workers)]
        ready, _, _ = select.select(channels, [], [], max(0.0, pause))
        if woken.fileno() in ready and woken.recv(64):
            self._stopping = True

    def _look(self) -> None:
        """Take note of what workers said, and of those that ended."""
        for worker in list(self._workers):
            worker.listen()
            if worker.ended:
                self._workers.remove(worker)
                self._bury(worker)
        if self._stopping or self._all_started or not all(worker.ready for worker in self._workers):
            return
        if len(self._workers) < self._settings.workers:
            self._pin(self._workers[0])
            for number in range(2, self._settings.workers + 1):
                self._start(number)
            return
        self._all_started = True
        for worker in self._workers:
            worker.tell_all_ready()
        logger.info("{} workers serve", len(self._workers))

    def _bury(self, worker: WorkerProcess) -> None:
        """Clear up after a worker that ended.

        Raises:
            StartupError: it never was ready, and nobody else is.
        """
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid, self._environment[MULTIPROCESS])  # type: ignore[no-untyped-call]
        if self._stopping:
            return
        if not self._all_started or (not worker.ready and not any(other.ready for other in self._workers)):
            raise StartupError(worker.failure or f"worker {worker.number} {worker.end} before it was ready")
        if worker.age > _STEADY_SECONDS:
            self._pauses.pop(worker.number, None)
        pause = self._pauses.get(worker.number, _FIRST_PAUSE)
        self._pauses[worker.number] = min(_LONGEST_PAUSE, 2 * pause)
        self._due[worker.number] = time.monotonic() + pause
        cause = f": {worker.failure}" if worker.failure else ""
        logger.error("worker {} {}; it starts again in {:g} s{}", worker.number, worker.end, pause, cause)

    def _start_what_is_due(self) -> None:
        for number, due in list(self._due.items()):
            if not self._stopping and due <= time.monotonic():
                del self._due[number]
                self._start(number)

    def _start(self, number: int) -> None:
        late = self._all_started
        self._workers.append(
            WorkerProcess(number, self._listener, self._environment, sys.executable, late=late)
        )

    def _pin(self, first: WorkerProcess) -> None:
        """Have every later worker serve what the first one serves, even if the alias moves meanwhile."""
        settings = self._settings
        if settings.source == "wandb" and not settings.model_refresh_seconds:
            version, digest = first.model
            if re.fullmatch(r"v\d+", version):
                self._environment |= {"MODEL_VERSION": version, "MODEL_DIGEST": digest}

    def _stop(self) -> bool:
        """Pass the signal on, once, and wait; return whether all ended by themselves and in order."""
        self._stopping = True
        self._listener.close()
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + self._settings.shutdown_seconds + _SLACK_SECONDS
        clean = True
        for worker in self._workers:
            try:
                code = worker.wait(max(0.0, deadline - time.monotonic()))
                # One that was still importing has no handler yet.
                clean &= code in (0, -signal.SIGTERM)
            except subprocess.TimeoutExpired:
                logger.error("worker {} did not end in time and is killed", worker.number)
                worker.kill()
                clean = False
        self._workers.clear()
        logger.info("stopped")
        return clean


def _shared_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that workers need to agree on where nothing is configured."""
    shared: dict[str, str] = {}
    if "inference_threads" not in settings.model_fields_set:
        shared["INFERENCE_THREADS"] = str(max(1, settings.inference_threads // settings.workers))
    # Feedback comes to any of them, and one text is to have one hash.
    if settings.feedback_key is None:
        shared["FEEDBACK_KEY"] = secrets.token_urlsafe(32)
    if settings.log_hash_key is None:
        shared["LOG_HASH_KEY"] = secrets.token_urlsafe(32)
    return shared


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket that can be read from once SIGTERM or SIGINT has come; nothing else happens by them."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
