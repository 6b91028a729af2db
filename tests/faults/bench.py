"""One fault's own W&B, folder and logs, so that many can be tried at once."""

import contextlib
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from app.core.config import Settings
from app.services.artifact import Manifest, ModelFiles, ModelVersion
from app.services.inference_log import InferenceLog
from tests.e2e.server_process import ServerProcess
from tests.faults.outcome import Outcome, outcome, until
from tests.wandb_server import WandbServer

MODEL = ModelFiles(Path("model"), ModelVersion("sentiment", "v0", "d" * 32), "wandb", Manifest(), True, None)
CONFIRM_SECONDS = 1.0
"""Instead of a minute; what depends on it is as much shorter."""


class Bench:
    """Opens logs and servers against one loopback W&B, remembers what was sent, and says what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.wandb = WandbServer(port=self.port, folder=folder / "wandb")
        self.sent: list[str] = []
        self.healths: list[dict[str, Any]] = []
        self._logs: list[InferenceLog] = []

    def log(self, **changes: Any) -> InferenceLog:
        """A log with the real client, ready for rows."""
        values: dict[str, Any] = {
            "project_name": "reviews",
            "wandb_entity": "acme",
            "wandb_api_key": self.wandb.api_key,
            "wandb_base_url": self.wandb.url,
            "state_dir": self.state,
            "inference_log_start_seconds": 10,
            "inference_log_confirm_seconds": CONFIRM_SECONDS,
            "inference_log_batch_seconds": 1,
        }
        log = InferenceLog(Settings(_env_file=None, **(values | changes)))
        log.start(MODEL)
        self._logs.append(log)
        return log

    def record(self, log: InferenceLog, count: int, text: str = "a good film") -> None:
        """Record inferences."""
        for _ in range(count):
            row_id = f"row-{len(self.sent)}"
            self.sent.append(row_id)
            log.record({"id": row_id, "text": text, "confidence_positive": 0.875, "status": 200})

    def confirmed(self, log: InferenceLog) -> None:
        """Wait until W&B is known to have everything that was not dropped."""
        until(lambda: log.health()["received"] and not log.health()["waiting"], 150)

    def stop(self, log: InferenceLog, seconds: float = 8) -> None:
        """End a log as SIGTERM does, and keep what it has counted."""
        log.stop(seconds)
        self._logs.remove(log)
        self.healths.append(log.health())

    def next_start(self, rows: int) -> None:
        """Start again with the same folder, and wait until what was left has arrived."""
        log = self.log()
        until(lambda: log.health()["recovered"]["confirmed"] >= rows)
        self.stop(log)

    def left(self) -> int:
        """Rows that lie in the spool."""
        return sum(path.read_bytes().count(b"\n") for path in self.state.glob("spool/*/rows-*.jsonl"))

    def server(self, name: str, **variables: str) -> ServerProcess:
        """The real server, not started; it shares the folder for its state."""
        return ServerProcess(
            self.folder / name,
            MODEL_SOURCE="embedded",
            PROJECT_NAME="reviews",
            WANDB_ENTITY=self.wandb.entity,
            WANDB_API_KEY=self.wandb.api_key,
            WANDB_BASE_URL=f"http://127.0.0.1:{self.port}",
            STATE_DIR=str(self.state),
            **({"INFERENCE_LOG_CONFIRM_SECONDS": str(CONFIRM_SECONDS)} | variables),
        )

    def predict(self, server: ServerProcess, count: int) -> None:
        """Ask a server; only what it answered counts as sent."""
        self.sent += [server.predict("a good film")["id"] for _ in range(count)]

    def core_of(self, log: InferenceLog) -> psutil.Process:
        """The service process of W&B's client, a child of the log's child."""
        writer = log._writing
        assert writer is not None
        delivery = writer[0]._delivery
        assert delivery is not None
        child = psutil.Process(delivery.run.child)
        return next(process for process in child.children(recursive=True) if "wandb-core" in process.name())

    def outcome(self, remark: str) -> Outcome:
        """What came of it."""
        return outcome(self.wandb, self.sent, self.healths, remark)

    def close(self) -> None:
        """Leave nothing running."""
        for log in list(self._logs):
            log.stop(0.1)
        self.wandb.stop()


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """A bench in a temporary folder, with its W&B running."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        made = Bench(Path(folder))
        made.wandb.start()
        try:
            yield made
        finally:
            made.close()


def kill(server: ServerProcess) -> None:
    """End a server as the kernel does when memory is short."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(10)
