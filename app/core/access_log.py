"""One line for each answered request. A record of loguru's costs as much as half a small prediction, so these lines are
written without one where nobody looks at colours; their form is the same.
"""

import asyncio
import atexit
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from loguru import logger

_TOGETHER_SECONDS = 0.02
"""Lines of so long are written at once: each write lets go of the interpreter, and a thread that computes keeps it."""
TRACE_FIELD = "logging.googleapis.com/trace"


@dataclass(frozen=True, slots=True)
class Access:
    """An answered request.

    Attributes:
        level: of the line.
        method, status: of the request; status 0 is one without an answer.
        path: without the query, which may hold a text, and without control characters.
        milliseconds: from its first line to the end of its reply.
        request_id, trace: what other lines about it carry.
    """

    level: str
    method: str
    path: str
    status: int
    milliseconds: float
    request_id: str
    trace: str | None

    @property
    def message(self) -> str:
        """What people read."""
        return f"{self.method} {self.path} {self.status or 'without an answer'} in {self.milliseconds:.1f} ms"


class AccessLog:
    """Writes the lines; through loguru until it is told where they go."""

    def __init__(self) -> None:
        """Know no place yet."""
        self._form: Callable[[Access], str] = str
        self._write: Callable[[str], None] | None = None
        self._shown: frozenset[str] = frozenset()
        self._lines: list[str] = []
        atexit.register(self.flush)

    def configure(
        self, level: str, form: Callable[[Access], str], write: Callable[[str], None] | None
    ) -> None:
        """Give lines of `level` and above, in a form, to `write`; without it, to loguru."""
        lowest = logger.level(level).no
        names = ("DEBUG", "INFO", "WARNING", "ERROR")
        self._shown = frozenset(name for name in names if logger.level(name).no >= lowest)
        self._form, self._write = form, write

    def __call__(self, access: Access) -> None:
        """Write the line of one request, at the latest a moment later; on an event loop."""
        if self._write is None:
            logger.bind(
                method=access.method,
                path=access.path,
                status=access.status,
                milliseconds=round(access.milliseconds, 2),
            ).log(access.level, "{}", access.message)
        elif access.level in self._shown:
            if not self._lines:
                asyncio.get_running_loop().call_later(_TOGETHER_SECONDS, self.flush)
            self._lines.append(self._form(access) + "\n")

    def flush(self) -> None:
        """Write what waits to be written together."""
        lines, self._lines = self._lines, []
        if lines and self._write is not None:
            self._write("".join(lines))


access_log = AccessLog()
"""The process has one, as it has one `logger`."""


def text_form(access: Access) -> str:
    """Return a line as people read it."""
    time = datetime.now().isoformat(" ", "milliseconds")  # noqa: DTZ005 - people's own
    return f"{time} {access.level: <8} [{access.request_id}] {access.message}"


def json_form(project: str | None) -> Callable[[Access], str]:
    """Return what writes a line as Cloud Logging reads it; `project` is where its traces are."""

    def form(access: Access) -> str:
        entry = {
            "severity": access.level,
            "message": access.message,
            "time": datetime.now().astimezone().isoformat(),
            "logger": __name__,
            "request_id": access.request_id,
            "method": access.method,
            "path": access.path,
            "status": access.status,
            "milliseconds": round(access.milliseconds, 2),
        }
        if access.trace:
            entry[TRACE_FIELD] = trace_name(access.trace, project)
        return json.dumps(entry, ensure_ascii=False)

    return form


def trace_name(trace: str, project: str | None) -> str:
    """Return a trace's name as Cloud Logging joins it to others."""
    return f"projects/{project}/traces/{trace}" if project else trace
