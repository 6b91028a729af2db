"""A worker as its parent sees it: a child process, a pipe it reports through, and a pipe it is told things through."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

ALL_READY = b"all ready\n"
"""What a worker is told when the whole instance may say that it is ready. The end of the pipe means: stop."""


class WorkerProcess:
    """One worker, running from its making on.

    Attributes:
        number: from 1 on; a worker that is started again keeps it.
        ready: whether it has said that it answers predictions.
        model: the version and the digest it serves.
        failure: why it cannot serve, in its own words.
    """

    def __init__(
        self, number: int, listener: socket.socket, environment: dict[str, str], python: str, *, late: bool
    ) -> None:
        """Start it.

        Args:
            number: which one it is.
            listener: the socket that it takes connections from.
            environment: its variables.
            python: the interpreter.
            late: whether others serve already; then it takes connections only once it can answer them.
        """
        self.number = number
        self.ready = False
        self.model = ("", "")
        self.failure: str | None = None
        self._born = time.monotonic()
        self._said = b""
        self.channel, its_end = os.pipe()
        os.set_blocking(self.channel, False)
        try:
            self._process = subprocess.Popen(
                [
                    python, "-m", "app.process.worker",
                    str(number), str(listener.fileno()), str(its_end), *(["late"] if late else []),
                ],
                env=environment,
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(), its_end),
                # A terminal's Ctrl-C goes to the parent, which passes it on.
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(its_end)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._born

    @property
    def ended(self) -> bool:
        """Whether the process is over; what it said before is read by then."""
        if self._process.poll() is None:
            return False
        self.listen()
        self._close()
        return True

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def listen(self) -> None:
        """Take note of what it has reported."""
        with contextlib.suppress(BlockingIOError):
            while self.channel >= 0 and (part := os.read(self.channel, 65_536)):
                self._said += part
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "failure" in said:
                self.failure = said["failure"]
            else:
                self.ready, self.model = True, (said["version"], said["digest"])

    def tell_all_ready(self) -> None:
        """Let it say that the instance is ready."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(ALL_READY)
            self._process.stdin.flush()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._process.wait(seconds)
        self._close()
        return code

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self.wait(60)

    def _close(self) -> None:
        if self.channel >= 0:
            os.close(self.channel)
            self.channel = -1
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
