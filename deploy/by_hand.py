"""What a person does by hand: roll back, and let a rejected model be tried again."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from deploy.cloud_run import CloudRun
from deploy.process import ReleaseError


def add_commands(commands: Any) -> None:
    """Declare `rollback` and `forget`."""
    rollback = commands.add_parser(
        "rollback",
        help="give the traffic back to the revision before, and keep the schedule from undoing it",
    )
    rollback.add_argument("--to", metavar="REVISION", help="the one before, by default")
    rollback.set_defaults(function=_rollback)
    forget = commands.add_parser("forget", help="let the scheduled build try a rejected model again")
    forget.add_argument("digest", help="as the build's last lines and the service's annotations give it")
    forget.set_defaults(function=_forget)
    for command in (rollback, forget):
        command.add_argument("--project", required=True)
        command.add_argument("--region", required=True)
        command.add_argument("--service", required=True)


def _rollback(arguments: argparse.Namespace) -> None:
    cloud_run = CloudRun(arguments.project, arguments.region, arguments.service)
    service = cloud_run.service()
    if service is None or not service.serving:
        raise ReleaseError(f"{arguments.service} has no revision with traffic")
    current = cloud_run.revision(service.serving)
    name = arguments.to or current.labels.get("replaces", "")
    if not name:
        raise ReleaseError(f"{current.name} does not say which revision it replaced: name one with --to")
    target = cloud_run.revision(name)
    cloud_run.move_traffic(target.name)
    if current.model_digest and current.model_digest != target.model_digest:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        cloud_run.remember(current.model_digest, target.image, "rolled back by hand", now)
    sys.stdout.write(f"{target.name} with {target.model} has the traffic; before it was {current.name}\n")


def _forget(arguments: argparse.Namespace) -> None:
    cloud_run = CloudRun(arguments.project, arguments.region, arguments.service)
    service = cloud_run.service()
    if service is None or arguments.digest not in service.rejected:
        raise ReleaseError(f"{arguments.service} remembers no rejection of {arguments.digest}")
    cloud_run.remember(arguments.digest, "", "", "")
    sys.stdout.write(f"{arguments.digest} may be tried again\n")
