"""What a person does by hand: set a project up, roll back, let a rejected model be tried again."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from deploy.cloud_run import CloudRun
from deploy.process import ReleaseError
from deploy.setup import Plan, Setup


def add_commands(commands: Any) -> None:
    """Declare `setup`, `rollback` and `forget`."""
    _add_setup(commands)
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


def _add_setup(commands: Any) -> None:
    parser = commands.add_parser(
        "setup",
        help="set a project up: APIs, repository, accounts and roles, secret, triggers, schedule",
        description="Set a project up; safe to run again. The secret is made from WANDB_API_KEY.",
    )
    parser.add_argument("--project", required=True)
    parser.add_argument("--region", required=True, help="such as europe-west1")
    parser.add_argument(
        "--source", required=True, help="OWNER/NAME on GitHub, connected to Cloud Build, or projects/…"
    )
    parser.add_argument(
        "--branch", default=Plan.branch, help="whose pushes are deployed (default: %(default)s)"
    )
    parser.add_argument(
        "--service", default=Plan.service, help="the Cloud Run service (default: %(default)s)"
    )
    parser.add_argument(
        "--schedule", default=Plan.schedule, help="in cron's form, UTC (default: '%(default)s')"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="_NAME=VALUE",
        help="a substitution for both triggers; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="print every command, run none")
    parser.set_defaults(function=_setup)


def _setup(arguments: argparse.Namespace) -> None:
    substitutions = {}
    for pair in arguments.set:
        name, sign, value = pair.partition("=")
        if not sign or not name.startswith("_"):
            raise ReleaseError(f"--set {pair}: a substitution is written _NAME=VALUE")
        substitutions[name] = value
    plan = Plan(
        project=arguments.project,
        region=arguments.region,
        source=arguments.source,
        branch=arguments.branch,
        service=arguments.service,
        schedule=arguments.schedule,
        substitutions=substitutions,
    )
    Setup(plan, dry_run=arguments.dry_run).run()


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
    cloud_run.forget(arguments.digest)
    sys.stdout.write(f"{arguments.digest} may be tried again\n")
