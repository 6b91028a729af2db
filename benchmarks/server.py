"""The real server in a process of its own, for a benchmark to ask."""

import asyncio
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]

_START_SECONDS = 300


class Server:
    """``python -m app`` on a free loopback port, configured by `variables` alone."""

    def __init__(self, *, inference_log: bool = False, **variables: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._scratch = tempfile.TemporaryDirectory(prefix="benchmark-")
        self._output = Path(self._scratch.name) / "output.txt"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environment = kept | {
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "STATE_DIR": self._scratch.name,
            "INFERENCE_LOG": str(inference_log).lower(),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **variables,
        }

    def __enter__(self) -> Self:
        # Its log lines go to a file, as they go to a pipe where it is deployed.
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=self._scratch.name,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=output,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            # Whatever ends the waiting, the server must not be left behind.
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._scratch.cleanup()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                last = self._output.read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{last}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.1)
        raise RuntimeError(f"the server is not ready after {_START_SECONDS} s")

    def resident(self) -> float:
        """Return the memory that the server's process holds (RSS), in MB of 10^6 bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("the system does not tell the memory of a process")

    def health(self) -> dict[str, Any]:
        """Return what ``/api/v1/health`` says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/api/v1/health")
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    async def ask_all(self, texts: Sequence[str], clients: int) -> list[dict[str, Any]]:
        """Post every text, `clients` at a time; return the replies in order."""
        import httpx
        from tqdm import tqdm

        limit = asyncio.Semaphore(clients)
        bar = tqdm(total=len(texts), unit="text")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=300) as client:

            async def ask(text: str) -> dict[str, Any]:
                async with limit:
                    reply = await client.post("/predict", json={"text": text})
                    reply.raise_for_status()
                    bar.update()
                    return dict(reply.json())

            replies = await asyncio.gather(*(ask(text) for text in texts))
        bar.close()
        return list(replies)


class LoopbackWandb:
    """The tests' W&B on a free loopback port, in a process of its own."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.wandb_server", "--port", "0"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._variables: dict[str, str] = {}
        try:
            for _ in range(2):
                words = shlex.split(self._process.stdout.readline())
                if len(words) != 2:
                    raise RuntimeError("the loopback W&B did not start")
                name, _, value = words[1].partition("=")
                self._variables[name] = value
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def variables(self) -> dict[str, str]:
        """What a server needs to log its inferences here."""
        return {**self._variables, "INFERENCE_PROJECT_NAME": "benchmarks", "WANDB_ENTITY": "acme"}
