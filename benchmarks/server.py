"""The real server in a process of its own, for a benchmark to ask."""

import asyncio
import http.client
import os
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


class Server:
    """``python -m app`` on a free loopback port, configured by `variables` alone."""

    def __init__(self, *, inference_log: bool = False, **variables: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._scratch = tempfile.TemporaryDirectory(prefix="benchmark-")
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
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=self._scratch.name,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(3000):
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return self
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.1)
        raise RuntimeError("the server is not ready after 300 s")

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
