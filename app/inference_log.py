"""``python -m app.inference_log prune --older-than 30d``: delete inferences that are past their time.

Deletes the runs of job type `inferences` in the project of the settings that ended before then, with their files of
inferences, and offline runs under STATE_DIR. A run lasts a day at most, so a row is kept for a day more at most.
Exit codes: 0, 1 when W&B cannot be asked or refuses (one line says why), 2 for a wrong command line.
"""

import argparse
import os
import re
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.core.config import Settings, load_settings
from app.core.errors import ConfigurationError, MarqueeError
from app.core.folders import ensure_writable, scratch_folder
from app.services.wandb_client import client_environment
from app.services.wandb_failures import explain_answer, explain_login

_UNITS = {"h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d{1,5})([hdw])")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        before = datetime.now(UTC) - options.older_than
        count = prune_offline(settings, before, dry_run=options.dry_run)
        count += prune_online(settings, before, dry_run=options.dry_run)
    except MarqueeError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(f"{'runs that would be deleted' if options.dry_run else 'deleted runs'}: {count}")  # noqa: T201
    return 0


def prune_online(settings: Settings, before: datetime, *, dry_run: bool) -> int:
    """Delete the runs in W&B that ended before a time, or name them; return how many.

    Raises:
        MarqueeError: W&B cannot be asked, or refuses.
    """
    project, key = settings.inference_project, settings.wandb_api_key
    if project is None or key is None:
        raise ConfigurationError(
            "PROJECT_NAME (or INFERENCE_PROJECT_NAME) and WANDB_API_KEY must be set: nothing in W&B was deleted"
        )
    ensure_writable(settings.state_dir, "STATE_DIR")
    with scratch_folder(settings.state_dir) as folder:
        os.environ |= client_environment(folder, settings.wandb_base_url)
        os.environ["WANDB_API_KEY"] = key.get_secret_value()
        import wandb

        url = settings.wandb_base_url or "https://api.wandb.ai"
        try:
            api = wandb.Api()
        except Exception as error:  # noqa: BLE001  # The client raises many kinds.
            raise explain_login(error, url, key.get_secret_value()) from None
        path = f"{settings.wandb_entity or api.default_entity}/{project}"
        try:
            return _prune(api, path, before, dry_run=dry_run)
        except Exception as error:  # noqa: BLE001
            raise explain_answer(error, path, url, key.get_secret_value()) from None
        finally:
            wandb.teardown()


def prune_offline(settings: Settings, before: datetime, *, dry_run: bool) -> int:
    """Delete the offline runs under STATE_DIR that were last written before a time, or name them; return how many."""
    count = 0
    for folder in sorted((settings.state_dir / "wandb").glob("offline-run-*")):
        if _last_written(folder) < before.timestamp():
            print(folder)  # noqa: T201
            count += 1
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
    return count


def _prune(api: Any, path: str, before: datetime, *, dry_run: bool) -> int:
    filters = {"jobType": "inferences", "createdAt": {"$lt": before.strftime("%Y-%m-%dT%H:%M:%S")}}
    old = [run for run in api.runs(path, filters=filters) if _ended(run) < before]
    for run in old:
        print(f"{path}/{run.id}, ended {_ended(run):%Y-%m-%d %H:%M} UTC")  # noqa: T201
        if not dry_run:
            # Every file is a version of the run's own artifact.
            if any(artifact.type == "inferences" for artifact in run.logged_artifacts()):
                api.artifact_collection("inferences", f"{path}/inferences-{run.id}").delete()
            run.delete()
    return len(old)


def _ended(run: Any) -> datetime:
    """When a run was last heard of."""
    return datetime.fromisoformat(run.heartbeatAt).replace(tzinfo=UTC)


def _last_written(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=time.time())


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: give a number with h, d or w, such as 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.inference_log", description="Look after logged inferences."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    prune = commands.add_parser("prune", help="delete runs that are past their time")
    prune.add_argument("--older-than", type=_age, required=True, metavar="AGE", help="such as 30d, 12h, 8w")
    prune.add_argument("--dry-run", action="store_true", help="only name them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
