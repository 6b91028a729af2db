"""`python3 -m deploy COMMAND`: the steps of the build files, and what a person does by hand."""

import argparse
import os
import sys
from collections.abc import Callable

from deploy import by_hand
from deploy.process import RejectedError, ReleaseError
from deploy.settings import read_settings
from deploy.steps import Steps
from deploy.workspace import Workspace

STEPS: dict[str, tuple[Callable[[Steps], None], str]] = {
    "plan": (Steps.plan, "resolve the alias, look at what has traffic, decide"),
    "accept": (Steps.accept, "put the candidate to the acceptance test"),
    "deploy": (Steps.deploy, "deploy the candidate without traffic"),
    "try": (Steps.try_candidate, "ask the candidate at its own address"),
    "promote": (Steps.promote, "move the traffic to it"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 done or nothing to do, 1 the candidate is rejected, 2 the release could not go on."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy", description="From a model version to traffic.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, description) in STEPS.items():
        commands.add_parser(name, help=f"{description} (a step of the build files)", description=description)
    by_hand.add_commands(commands)
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command in STEPS:
            STEPS[parsed.command][0](Steps(read_settings(os.environ), Workspace()))
        else:
            parsed.function(parsed)
    except RejectedError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except ReleaseError as error:
        sys.stdout.write(f"{parsed.command}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
