"""``python -m ml COMMAND``: train, export, evaluate, reference, accept, gate, publish."""

import argparse
import importlib
import os
import sys

COMMANDS = {
    "train": ("ml.train_command", "fine-tune DistilBERT on labelled texts"),
    "export": ("ml.export", "turn a training run into a servable artifact"),
    "evaluate": ("ml.evaluate", "measure a servable model on labelled texts"),
    "reference": (
        "ml.reference",
        "add how its texts are worded to the profile that drift is measured against",
    ),
    "accept": ("ml.accept", "put a model to the acceptance test"),
    "gate": ("ml.gate", "put a version of the registry to the test that decides about traffic"),
    "publish": ("ml.publish", "log a model to W&B and link it to the registry"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 refused or failed, 2 wrong use, 130 interrupted.

    A failure is told in one line; with ``MARQUEE_TRACEBACK`` set it comes with where it happened.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    parser = argparse.ArgumentParser(
        prog="python -m ml", description="The life of a model before it is served."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = sys.argv[1:] if arguments is None else arguments
    for name, (module, description) in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description)
        if name in words[:1]:  # Only the module of the command asked for is imported.
            importlib.import_module(module).add_arguments(command)
    parsed = parser.parse_args(words)
    from app.core.errors import MarqueeError

    try:
        return int(importlib.import_module(COMMANDS[parsed.command][0]).run(parsed))
    except (MarqueeError, ValueError, RuntimeError, OSError, ImportError) as error:
        if os.environ.get("MARQUEE_TRACEBACK"):
            raise
        print(f"{parsed.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parsed.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
