"""The real server in a process of its own, started as `make run` starts it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "OPENBLAS_CORETYPE",
    "COVERAGE_PROCESS_CONFIG",
)


def clean_environment(**variables: str) -> dict[str, str]:
    """Return an environment in which nothing of the caller's configuration is left."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return (
        kept
        | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        | variables
    )


class ServerProcess:
    """``python -m app`` with these variables; a context manager that leaves no process behind."""

    def __init__(self, folder: Path, **variables: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # An empty folder: no .env of the developer's is read.
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._output = self._folder / "output.txt"
        defaults = {
            "PORT": str(self.port),
            "STATE_DIR": str(folder / "state"),
            "LOCAL_MODEL_DIR": str(folder / "models"),
        }
        self._environment = clean_environment(**(defaults | variables))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        """All that the process has printed."""
        return self._output.read_text("utf-8", "replace")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request; return the status and the JSON of the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def predict(self, text: str) -> dict[str, Any]:
        status, reply = self.ask("POST", "/predict", {"text": text})
        assert status == 200, reply
        return dict(reply)

    def wait_until_ready(self, seconds: float = 90) -> Self:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output}")
            try:
                if self.ask("GET", "/health/ready")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready after {seconds} s:\n{self.output}")

    def terminate(self, seconds: float = 20) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def wait_for_exit(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)
