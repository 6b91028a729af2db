"""A W&B run at arm's length: the client lives in a process of its own, and every word with it has a deadline.

The client blocks without limit when its service stalls, takes signals and exit handlers for itself, and costs half a
second of processor time and 100 MB. In a child process none of that reaches the server, whatever hangs can be killed,
and when the server is killed the child still finishes the run.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.core.errors import StorageError
from app.core.folders import ensure_writable, scratch_folder
from app.services.inference_run import RunLostError, RunRequest, Stored
from app.services.wandb_client import client_environment, inherited_environment
from app.services.wandb_opening import OTHER_VARIABLES, opening

_ROOT = Path(__file__).resolve().parents[2]
_SLICE_SECONDS = 0.1
_IMPORT_SECONDS = 60
_START_SECONDS = 20
_WRITE_SECONDS = 30
_CLIENT_BYTES = 16_777_216
"""Room on the disk without which the client does not start well."""
_READ_BYTES = 65_536


class WandbRun:
    """A run in a child process.

    Attributes:
        path: `entity/project/id`; None offline.
        url: the run's page; None offline.
        folder: the run's own folder.
    """

    def __init__(self, request: RunRequest, limit: Callable[[], float]) -> None:
        """Open the run.

        Args:
            request: which run.
            limit: returns the time, as of `time.monotonic`, past which nothing may wait; it may change.

        Raises:
            RunLostError: the run could not be opened.
            StorageError: the folder cannot be written.
            OSError: no process could be started.
        """
        self._limit = limit
        self._key = request.key or ""
        self._ended = False
        self._events: list[dict[str, Any]] = []
        self._answers: deque[dict[str, Any]] = deque()
        self._read = b""
        self._processes: list[int] = []
        self._online = request.online
        with contextlib.ExitStack() as stack:
            folder = self._folder(request.folder, stack)
            # Both are of use only while the child lives: the client's cache, and what it complained of last.
            client = stack.enter_context(scratch_folder(folder)).resolve()
            self._complaints = stack.enter_context(tempfile.TemporaryFile())
            self._child = self._start(request, folder, client)
            self._leftovers = stack.pop_all()
        try:
            self._send(json.dumps({"open": opening(request)}).encode(), _IMPORT_SECONDS)
            self._receive("ready", _IMPORT_SECONDS)
            # The client gives W&B `init_timeout`; the rest is for its own start.
            opened = self._receive("opened", request.open_seconds + _START_SECONDS)["opened"]
        except BaseException:
            self.kill()
            # The client leaves a folder without rows; over a long outage there would be many.
            for left in folder.glob(f"wandb/*-{request.run['id']}"):
                shutil.rmtree(left, ignore_errors=True)
            raise
        self.path: str | None = opened["path"]
        self.url: str | None = opened["url"]
        self.folder: str = opened["folder"]
        self._processes = opened["processes"]

    @property
    def child(self) -> int:
        """The id of the child process."""
        return self._child.pid

    def stopped(self) -> bool:
        """Whether the run was ended from outside: by "Stop run", or since W&B refused its rows."""
        with contextlib.suppress(RunLostError):
            self._poll(0)
        return any(event["event"] == "stopped" for event in self._events)

    def write(self, rows: list[bytes]) -> None:
        """Write rows."""
        self._send(b"[" + b",".join(rows) + b"]", _WRITE_SECONDS)
        written: int = self._receive("written", _WRITE_SECONDS)["written"]
        if written < len(rows):
            raise RunLostError(self._receive("error", _WRITE_SECONDS)["error"], written)

    def summarize(self, values: dict[str, Any]) -> None:
        """Set values of the summary."""
        self._ask({"summary": values}, "summary", _WRITE_SECONDS)

    def alert(self, title: str, text: str, level: str) -> None:
        """Have W&B tell people."""
        self._ask({"alert": {"title": title, "text": text, "level": level}}, "alert", _WRITE_SECONDS)

    def log_batch(self, file: Path, rows: int) -> None:
        """Begin to upload a file of so many inferences."""
        self._ask({"batch": {"file": str(file.resolve()), "rows": rows}}, "batch", _WRITE_SECONDS)

    def outcomes(self) -> dict[str, str | None]:
        """Return the uploads that ended since the last call, with None or why they failed."""
        self._poll(0)
        ended = [event for event in self._events if event["event"] == "batch"]
        self._events = [event for event in self._events if event["event"] != "batch"]
        return {event["name"]: event["error"] for event in ended}

    def stored(self, path: str) -> Stored | None:
        """Return what W&B has of a run."""
        return _stored(self._ask({"stored": path}, "stored", _WRITE_SECONDS)["stored"])

    def scan(self, path: str, first: int) -> frozenset[str] | None:
        """Return the ids of the rows from a step on that W&B has."""
        ids = self._ask({"scan": [path, first]}, "scan", _WRITE_SECONDS)["scan"]
        return None if ids is None else frozenset(ids)

    def finish(self, seconds: float, first: int, last: int) -> Stored | None:
        """Finish the run within `seconds` and end the child."""
        try:
            asked = {"seconds": max(seconds - _SLICE_SECONDS, 0), "first": first, "last": last}
            answer = self._ask({"finish": asked}, "finished", seconds)
            if not self._online:
                return Stored(last, last + 1) if answer["finished"] else None
            return _stored(answer["stored"])
        finally:
            self.kill()

    def kill(self) -> None:
        """End the child and the client's service at once."""
        if self._ended:
            return
        self._ended = True
        # The service first: a stalled one would outlive the child, and only while that lives is the number its own.
        if self._child.poll() is None:
            for process in self._processes:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._leftovers.close()

    def _folder(self, wanted: Path, stack: contextlib.ExitStack) -> Path:
        """Return a folder for the client: a temporary one where the state's is of no use, unless it must last."""
        try:
            ensure_writable(wanted, "STATE_DIR")
            if not self._online or shutil.disk_usage(wanted).free >= _CLIENT_BYTES:
                return wanted
        except StorageError:
            if not self._online:
                raise
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marquee-")))

    def _start(self, request: RunRequest, folder: Path, client: Path) -> "subprocess.Popen[bytes]":
        environment = {
            name: value for name, value in inherited_environment().items() if name not in OTHER_VARIABLES
        }
        environment |= client_environment(client, request.base_url)
        environment["WANDB_DIR"] = str(folder.resolve())
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        for name in ("CACHE", "DATA", "CONFIG", "ARTIFACT"):
            Path(environment[f"WANDB_{name}_DIR"]).mkdir(parents=True, exist_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-m", "app.services.wandb_inferences"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        for stream in (child.stdin, child.stdout):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        return child

    def _ask(self, request: dict[str, Any], name: str, seconds: float) -> dict[str, Any]:
        self._send(json.dumps(request).encode(), seconds)
        return self._receive(name, seconds)

    def _send(self, line: bytes, seconds: float) -> None:
        assert self._child.stdin is not None
        rest = memoryview(line + b"\n")
        end = time.monotonic() + seconds
        while rest:
            try:
                rest = rest[os.write(self._child.stdin.fileno(), rest) :]
            except BlockingIOError:
                self._check(end, "take rows")
                select.select([], [self._child.stdin], [], _SLICE_SECONDS)
            except OSError:
                raise RunLostError(self._why_ended()) from None

    def _receive(self, name: str, seconds: float) -> dict[str, Any]:
        """Return the next answer, which must have `name`."""
        end = time.monotonic() + seconds
        while not self._answers:
            self._poll(_SLICE_SECONDS)
            if not self._answers:
                self._check(end, f"answer ({name})")
        answer = self._answers.popleft()
        if name not in answer:
            raise RunLostError(answer.get("error", f"the W&B client did not answer ({name})"))
        return answer

    def _poll(self, seconds: float) -> None:
        """Read what the child has said, waiting at most `seconds` for it to say something."""
        assert self._child.stdout is not None
        if not select.select([self._child.stdout], [], [], seconds)[0]:
            return
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._child.stdout.fileno(), _READ_BYTES)
            if not data:
                raise RunLostError(self._why_ended())
            *lines, self._read = (self._read + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                (self._events if "event" in said else self._answers).append(said)

    def _check(self, end: float, what: str) -> None:
        if time.monotonic() > min(end, self._limit()):
            raise RunLostError(f"the W&B client did not {what} in time")

    def _why_ended(self) -> str:
        code = self._child.wait() if self._child.poll() is None else self._child.returncode
        self._complaints.seek(0)
        last = self._complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        line = last[0].replace(self._key, "***") if last and self._key else "".join(last)
        return f"the W&B client ended (exit code {code}){': ' if line else ''}{line}"[:300]


def _stored(found: dict[str, Any] | None) -> Stored | None:
    if found is None:
        return None
    ids = found.get("ids")
    return Stored(found["last"], found["lines"], None if ids is None else frozenset(ids))
