"""A recognisable key, and all that could give it away: output, replies, W&B, files, what other users can see."""

import contextlib
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests import models
from tests.e2e.server_process import ServerProcess
from tests.wandb_server import WandbServer

PATH = "acme/reviews/sentiment"
OTHERS = {"API_KEYS": "recognisable-api-key-1,recognisable-api-key-2", "LOG_HASH_KEY": "recognisable-hash-key",
          "FEEDBACK_KEY": "recognisable-feedback-key-0123456789abcdef"}  # fmt: skip
MARK = b"recognisable"


def what_others_see(process: psutil.Process, *, environment: bool) -> bytes:
    """Command line and title of a process; with its environment, which only root and the same user can read."""
    names = ("cmdline", "comm", "environ") if environment else ("cmdline", "comm")
    seen = b""
    for name in names:
        with contextlib.suppress(OSError):
            seen += Path(f"/proc/{process.pid}/{name}").read_bytes()
    return seen


def command_line(process: psutil.Process) -> bytes:
    """What a process was started as; nothing if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    return b""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc here")
def test_no_secret_is_where_others_can_see_it(tmp_path: Path, wandb_server: WandbServer) -> None:
    wandb_server.api_key = "recognisable" * 3 + "0123"
    folder = models.tiny_onnx(tmp_path / "model")
    wandb_server.publish(PATH, {path.name: path.read_bytes() for path in folder.iterdir()})
    variables = {
        "PROJECT_NAME": "reviews",
        "WANDB_ENTITY": wandb_server.entity,
        "WANDB_API_KEY": wandb_server.api_key,
        "WANDB_BASE_URL": wandb_server.url,
        "MODEL_REFRESH_SECONDS": "1",
        "LOG_LEVEL": "DEBUG",
        **{name: value for name, value in OTHERS.items() if name != "API_KEYS"},
    }
    seen = b""
    children = set()
    with ServerProcess(tmp_path / "server", **variables) as server:
        server.wait_until_ready()
        parent = psutil.Process(server.process.pid)
        end = time.monotonic() + 8
        while time.monotonic() < end:
            server.predict("a fine film")
            for child in parent.children(recursive=True):
                if command_line(child) != command_line(parent):  # Else it has forked and not begun yet.
                    children.add(child.pid)
                    seen += what_others_see(child, environment=True)
            time.sleep(0.05)
        seen += what_others_see(parent, environment=False)
        for path in ("/", "/api/v1/health", "/api/v1/model", "/nowhere"):
            seen += repr(server.ask("GET", path)).encode()
        wandb_server.api_key = "w" * 40
        time.sleep(3)
        seen += repr(server.ask("GET", "/api/v1/health")).encode()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        seen += server.output.encode()
    assert len(children) >= 2, "the client's processes were looked at"
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert MARK not in path.read_bytes(), path
    runs = wandb_server.runs(project="reviews")
    seen += repr([(run.config, wandb_server.rows(run), run.files) for run in runs]).encode()
    where = seen.find(MARK)
    assert where < 0, seen[max(0, where - 200) : where + 60]


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["WANDB_API_KEY", *OTHERS])
def test_a_secret_that_will_not_do_is_refused_without_being_shown(tmp_path: Path, name: str) -> None:
    spoilt = "recognisable\tvalue\nrecognisable"
    with ServerProcess(tmp_path / "server", **{name: spoilt}, PROJECT_NAME="reviews") as server:
        assert server.wait_for_exit() == 1
        assert name in server.output or "WANDB_API_KEY" in server.output
        assert MARK.decode() not in server.output
        assert "Traceback" not in server.output
