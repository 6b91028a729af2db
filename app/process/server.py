"""One process that serves: uvicorn's server with exit codes, limits and a stop that suit a model server."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Generator

import uvicorn
from fastapi import FastAPI
from loguru import logger
from uvicorn.server import HANDLED_SIGNALS

from app.core import garbage
from app.core.access_log import access_log
from app.core.config import Settings
from app.core.errors import StartupError
from app.core.events import GRACE_SHARE, Lifecycle
from app.main import create_app
from app.process.connections import bounded_connections
from app.services.model_server import ModelServer

_LINGER_SECONDS = 0.2
"""How long connections are still taken after a signal, to be told 503, and then how long those are still heard."""
_LINGER_SHARE = 0.05
"""Share of the time to stop that each of the two may take at most."""
_FILES = 65_536
"""Open files to allow, if the system lets us: each connection is one, and many systems start with 1,024."""


class Server(uvicorn.Server):
    """uvicorn's server with exit code 0 after a signal, and its open requests given up in time.

    Attributes:
        failed: whether it ends because the model cannot be served.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, shutdown_seconds: float) -> None:
        """Serve `config`'s app, whose parts `lifecycle` starts and stops."""
        super().__init__(config)
        self._lifecycle = lifecycle
        self._linger = min(_LINGER_SECONDS, shutdown_seconds * _LINGER_SHARE)
        self.failed = False

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals; uvicorn would raise them again at its end, as if the process had been killed."""
        before = {number: signal.signal(number, self.stop) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, *_: object) -> None:
        """Begin to stop; also a handler of signals, since uvicorn's own drops open requests at a second SIGINT."""
        if self._lifecycle.loads_first and not self.started:
            # The load cannot be interrupted, and nobody waits for anything.
            os._exit(0)
        self.should_exit = True

    def all_ready(self) -> None:
        """Let this worker say that the instance is ready."""
        self._lifecycle.waits_for_others = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes."""
        await super().serve(sockets)
        access_log.flush()
        if self._lifecycle.loading:
            # asyncio and Python would wait for the thread that loads a model nobody waits for any more.
            exit_now(1 if self.failed else 0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, wait for the open ones, stop the parts."""
        self._lifecycle.begin_stop()
        # Who comes now, or asks through a connection that idled, is told to come again, on another connection.
        await asyncio.sleep(self._linger)
        await self._close_door(sockets or [])
        # Who was let in before the door closed gets an answer too.
        await asyncio.sleep(self._linger)
        await super().shutdown(sockets)

    async def _close_door(self, listeners: list[socket.socket]) -> None:
        """Take no more connections, but for those that the kernel has taken already: it would reset them."""
        doors = [listener.dup() for listener in listeners]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for door in doors:
            # Those who ask now wait for their turn, and find the door closed.
            door.listen(0)
            door.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection, _ = door.accept()
                    await loop.connect_accepted_socket(self._connection, connection)
            door.close()

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def serve(settings: Settings, listener: socket.socket, model: ModelServer) -> int:
    """Serve `model` on `listener` until a signal comes or the model turns out to be unusable; return the exit code."""

    def on_failure(error: Exception) -> None:
        log_failure(error)
        server.failed = True
        server.stop()

    app = create_app(settings, on_failure=on_failure, server=model)
    server = make_server(settings, app)
    server.run(sockets=[listener])
    code = 1 if server.failed else 0
    exit_in(settings.shutdown_seconds, code)
    logger.info("stopped")
    return code


def make_server(settings: Settings, app: FastAPI) -> Server:
    """Return a server of `app`, which `create_app` made from the same settings."""
    allow_many_files()
    app.state.service.lifecycle.on_ready.append(garbage.settle)
    config = uvicorn.Config(
        app,
        lifespan="on",
        http=bounded_connections(settings.request_timeout_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
        timeout_keep_alive=settings.keep_alive_seconds,
        # Declared as a whole number, but handed to asyncio.wait_for as it is.
        timeout_graceful_shutdown=settings.shutdown_seconds * GRACE_SHARE,  # type: ignore[arg-type]
    )
    return Server(config, app.state.service.lifecycle, settings.shutdown_seconds)


def allow_many_files() -> None:
    """Raise the limit of open files as far as the system allows, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def log_failure(error: Exception) -> None:
    """Say in one line why the service cannot serve; with a traceback if nobody foresaw it."""
    if isinstance(error, StartupError):
        logger.critical("{}", error)
    else:
        logger.opt(exception=error).critical("the model cannot be loaded: {}", type(error).__name__)


def exit_in(seconds: float, code: int) -> None:
    """End the process by force if a thread or an exit handler of a library still holds it after `seconds`."""
    timer = threading.Timer(seconds, exit_now, [code])
    timer.daemon = True
    timer.start()


def exit_now(code: int) -> None:
    """End the process without waiting for threads."""
    logger.info("stopped")
    sys.stderr.flush()
    os._exit(code)
