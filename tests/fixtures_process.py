"""`start`: real server processes with the tests' own words model."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 90
"""Generous: machines that test may be busy and without compiled modules."""

Start = Callable[..., "Process"]


class Process:
    """A server process; its log is read as it comes."""

    def __init__(self, command: list[str], variables: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no line with {pattern}: {self.lines}")

    @property
    def address(self) -> str:
        return self.wait_for(r"(?:listening|running) on (http://[^ ]+)")[1]

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(START_SECONDS)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
        self.process.stderr.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(PORT="abc")`: a server process with the words model and these variables beside the usual ones."""
    folder = tmp_path / "models" / "words"
    folder.mkdir(parents=True)
    (folder / "words.txt").write_text("good\n")
    started: list[Process] = []

    def run(command: list[str] | None = None, **variables: str) -> Process:
        usual = {
            "MODEL_SOURCE": "local",
            "LOCAL_MODEL_DIR": str(tmp_path / "models"),
            "LOCAL_MODEL_NAME": "words",
            "MODEL_LOADER": "tests.app.api.predictors:WordsPredictor",
            "STATE_DIR": str(tmp_path / "state"),
            "INFERENCE_LOG": "false",
            "HOST": "127.0.0.1",
            "PORT": "0",
            "LOG_FORMAT": "text",
        }
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
        }
        process = Process(command or [sys.executable, "-m", "app"], kept | usual | variables)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def post(address: str, text: str = "good") -> httpx.Response:
    return httpx.post(f"{address}/predict", json={"text": text}, timeout=START_SECONDS)


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + START_SECONDS
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
