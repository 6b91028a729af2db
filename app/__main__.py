"""``python -m app``: serve the configured model until SIGTERM.

Exit codes: 0 after a signal, 1 when it cannot serve (one line says why), 2 for a wrong command line.
"""

import argparse
import ast
import atexit
import inspect
import itertools
import os
import signal
import socket
import sys

from loguru import logger

from app.core import config, garbage
from app.core.config import Settings, load_settings
from app.core.errors import ConfigurationError, StartupError
from app.core.logging import configure_logging, configure_logging_without_settings

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
    if settings.workers > 1:
        from app.process.supervisor import Supervisor

        garbage.settle()
        return Supervisor(settings, listener).run()
    from app.services.model_server import ModelServer

    model = ModelServer(settings)
    # On a thread of its own, since importing what serves takes as long as loading a small model.
    model.begin()
    from app.process.server import serve

    return serve(settings, listener, model)


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
    garbage.hold()
    outcome: list[int] = []
    # The first handler that is registered runs last. All is written by then, and taking Python's modules apart
    # would cost as much as importing them, out of the seconds that the platform gives.
    atexit.register(lambda: os._exit(outcome[0]) if outcome else None)
    outcome.append(main())
    sys.exit(outcome[0])
