"""``python -m app``: serve the configured model until SIGTERM.

Exit codes: 0 after a signal, 1 when it cannot serve (one line says why), 2 for a wrong command line.
"""

import argparse
import ast
import atexit
import contextlib
import inspect
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator

from loguru import logger

from app.core import config
from app.core.config import Settings, load_settings
from app.core.errors import ConfigurationError, StartupError
from app.core.logging import configure_logging, configure_logging_without_settings

_KEEP_ALIVE_SECONDS = 620
"""Longer than the 600 s after which Google's load balancer gives up an idle connection: the proxy, which knows
whether it is about to send, must be the one to close. https://cloud.google.com/load-balancing/docs/https"""
_BACKLOG = 2048


def main(arguments: list[str] | None = None) -> int:
    """Run the server and return the exit code."""
    _parser().parse_args(arguments)
    # Until the server is up. The first process of a container ignores the signal unless somebody handles it.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        settings = load_settings()
    except ConfigurationError as error:
        configure_logging_without_settings()
        logger.critical("{}", error)
        return 1
    configure_logging(settings)
    try:
        listener = listen(settings.host, settings.port)
    except StartupError as error:
        logger.critical("{}", error)
        return 1
    return serve(settings, listener)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address.

    Raises:
        ConfigurationError: nobody can listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(
            address[:2],
            family=family,
            backlog=_BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and host == "::",
        )
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(f"HOST, PORT: cannot listen on {host} port {port}: {reason}") from None
    # asyncio does this only for sockets that name their protocol; without it a reply of two writes waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    chosen = listener.getsockname()
    shown = f"[{chosen[0]}]" if family == socket.AF_INET6 else chosen[0]
    logger.info("listening on http://{}:{}", shown, chosen[1])
    return listener


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serve on `listener` until a signal comes or the model turns out to be unusable; return the exit code."""
    import uvicorn
    from uvicorn.server import HANDLED_SIGNALS

    from app.core.events import GRACE_SHARE
    from app.main import create_app

    failed = False

    def on_failure(error: Exception) -> None:
        nonlocal failed
        failed = True
        if isinstance(error, StartupError):
            logger.critical("{}", error)
        else:
            logger.opt(exception=error).critical("the model cannot be loaded: {}", type(error).__name__)
        server.should_exit = True

    app = create_app(settings, on_failure=on_failure)
    lifecycle = app.state.service.lifecycle

    class Server(uvicorn.Server):
        """uvicorn's server with exit code 0 after a signal, and its open requests given up in time."""

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            # uvicorn raises the signal again at its end, so that the process would seem to have been killed.
            before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        async def serve(self, sockets: list[socket.socket] | None = None) -> None:
            await super().serve(sockets)
            if lifecycle.loading:
                # asyncio and Python would wait for the thread that loads a model nobody waits for any more.
                _exit_now(1 if failed else 0)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            lifecycle.begin_stop()
            await super().shutdown(sockets)

    server = Server(
        uvicorn.Config(
            app,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            workers=1,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            # Declared as a whole number, but handed to asyncio.wait_for as it is.
            timeout_graceful_shutdown=settings.shutdown_seconds * GRACE_SHARE,  # type: ignore[arg-type]
        )
    )
    server.run(sockets=[listener])
    code = 1 if failed else 0
    _exit_in(settings.shutdown_seconds, code)
    logger.info("stopped")
    return code


def _exit_in(seconds: float, code: int) -> None:
    """End the process by force if a thread or an exit handler of a library still holds it after `seconds`."""
    timer = threading.Timer(seconds, _exit_now, [code])
    timer.daemon = True
    timer.start()


def _exit_now(code: int) -> None:
    logger.info("stopped")
    sys.stderr.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Serve the configured model over HTTP.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if "-h" in sys.argv or "--help" in sys.argv:
        parser.epilog = "Variables, from the environment or .env:\n\n" + "\n".join(describe_settings())
    return parser


def describe_settings() -> list[str]:
    """Return a line or two about each variable, from the documentation of `Settings`' fields."""
    tree = ast.parse(inspect.getsource(config))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    lines = []
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            default = Settings.model_fields[field.target.id].get_default(call_default_factory=True)
            shown = "" if default in (None, "") else f" [{default}]"
            lines.append(f"  {field.target.id.upper()}{shown}\n      {text.value.value}")
    return lines


if __name__ == "__main__":
    outcome: list[int] = []
    # The first handler that is registered runs last. All is written by then, and taking Python's modules apart
    # would cost as much as importing them, out of the seconds that the platform gives.
    atexit.register(lambda: os._exit(outcome[0]) if outcome else None)
    outcome.append(main())
    sys.exit(outcome[0])
