"""Run the loopback W&B on its own: `python -m tests.wandb_server --port 8090 --data /tmp/wandb-data`."""

import argparse
import shlex
import signal
import threading
from pathlib import Path

from .server import DEFAULT_KEY, WandbServer

_DESCRIPTION = """\
A W&B server on this machine, for developing and testing without an account. It keeps runs, artifacts and
registries. Point a client at it with the variables that it prints. A page at / shows what has arrived.
"""

_EPILOG = """\
for tests in another process:
  GET    /__state              everything as JSON
  POST   /__faults             {"kind": "file_stream", "status": 500, "times": 3}
  DELETE /__faults             all faults off
  POST   /__actions            {"action": "move_alias", "arguments": {"collection": "acme/reviews/sentiment",
                                "alias": "latest", "version": "v0"}}
"""

_SAVE_EVERY = 1.0


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or terminated. A changed state is saved every second and at the end."""
    options = _parser().parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    server = WandbServer(
        port=options.port, host=options.host, api_key=options.key, entity=options.entity, folder=options.data
    )
    try:
        server.start()
    except OSError as error:
        raise SystemExit(f"cannot listen on {options.host}:{options.port}: {error.strerror}") from None
    print(f"export WANDB_BASE_URL={server.url}")
    print(f"export WANDB_API_KEY={shlex.quote(server.api_key)}")
    print(f"# entity {server.entity}, registries wandb-registry-*, page at {server.url}/", flush=True)
    while not stopped.wait(_SAVE_EVERY):
        if options.data:
            server.save()
    server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.wandb_server",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port", type=int, default=8090, help="port to listen on, 0 for a free one (default: 8090)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--data", type=Path, help="folder that keeps the state over restarts (default: keep nothing)"
    )
    parser.add_argument("--key", default=DEFAULT_KEY, help="the API key to accept (default: a fixed one)")
    parser.add_argument("--entity", default="acme", help="name of the one team (default: acme)")
    return parser


if __name__ == "__main__":
    main()
