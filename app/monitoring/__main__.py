"""``python -m app.monitoring COMMAND``: make a dashboard in W&B, or report on stored inferences."""

import argparse
import importlib
import os
import sys

from app.core.errors import MarqueeError

COMMANDS = {
    "dashboard": "make a W&B workspace with the panels that matter, and print its address",
    "drift": "compare the stored inferences of two spans of time, and the later one with the model's reference",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 failed or drifted, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m app.monitoring", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = sys.argv[1:] if arguments is None else arguments
    for name, description in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description)
        if name in words[:1]:
            importlib.import_module(f"app.monitoring.{name}").add_arguments(command)
            command.add_argument(
                "--project",
                default=os.environ.get("INFERENCE_PROJECT_NAME") or os.environ.get("PROJECT_NAME"),
                help="W&B project of the inferences (INFERENCE_PROJECT_NAME, PROJECT_NAME)",
            )
            command.add_argument(
                "--entity", default=os.environ.get("WANDB_ENTITY"), help="team or user (WANDB_ENTITY)"
            )
    parsed = parser.parse_args(words)
    try:
        return int(importlib.import_module(f"app.monitoring.{parsed.command}").run(parsed))
    except ImportError as error:
        print(f"{error.name} is not installed: make install-monitoring", file=sys.stderr)  # noqa: T201
    except (MarqueeError, ValueError, OSError) as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
