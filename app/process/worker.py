"""``python -m app.process.worker``: one of several processes that serve; started by `app.process.supervisor` only."""

import json
import os
import signal
import socket
import sys
import threading

from loguru import logger

from app.core import garbage
from app.core.config import load_settings
from app.core.errors import StartupError
from app.core.logging import configure_logging
from app.main import create_app
from app.process.server import Server, exit_in, log_failure, make_server
from app.process.worker_process import ALL_READY


def main(number: int, listener: socket.socket, channel: int, *, late: bool) -> int:
    """Serve until a signal comes or the parent is gone; return the exit code.

    Args:
        number: which worker this is.
        listener: the socket that all workers take connections from.
        channel: the descriptor to report through.
        late: whether others serve already, so that connections are taken only once they can be answered.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.set_inheritable(channel, False)
    settings = load_settings()
    configure_logging(settings)
    logger.configure(extra={"worker": number})

    def report(**said: str) -> None:
        # Short enough for one write, and so never mixed or cut.
        os.write(channel, json.dumps(said).encode() + b"\n")

    def on_failure(error: Exception) -> None:
        if isinstance(error, StartupError):
            # The parent says it, once for all workers.
            report(failure=str(error)[:3_000])
        else:
            log_failure(error)
            report(failure=f"worker {number} cannot load the model: {type(error).__name__}")
        if late:
            # No connection was taken.
            sys.stderr.flush()
            os._exit(1)
        server.failed = True
        server.stop()

    app = create_app(settings, on_failure=on_failure)
    service = app.state.service
    lifecycle = service.lifecycle
    lifecycle.waits_for_others, lifecycle.loads_first = not late, late

    def on_ready() -> None:
        model = service.server.files.model
        report(version=model.version, digest=model.digest)

    lifecycle.on_ready.append(on_ready)
    server = make_server(settings, app)
    threading.Thread(target=_obey, args=(server,), name="parent", daemon=True).start()
    server.run(sockets=[listener])
    code = 1 if server.failed else 0
    exit_in(settings.shutdown_seconds, code)
    return code


def _obey(server: Server) -> None:
    """Do what the parent says; its end is a signal to stop."""
    for line in sys.stdin.buffer:
        if line == ALL_READY:
            server.all_ready()
    server.stop()


if __name__ == "__main__":
    garbage.hold()
    code = main(
        int(sys.argv[1]),
        socket.socket(fileno=int(sys.argv[2])),
        int(sys.argv[3]),
        late="late" in sys.argv[4:],
    )
    sys.stderr.flush()
    os._exit(code)
