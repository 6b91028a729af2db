"""The set-up of a project, through the real gcloud: what it makes, and that a second run makes nothing anew."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.build_runner import ROOT
from tests.cloud.cloud_run import CloudRunStandIn
from tests.cloud.google_apis import PROJECT, GoogleApis
from tests.cloud.recorded import check_recorded

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "not-a-real-key-" * 3
COMMAND = (
    *("setup", "--project", PROJECT, "--region", "us-central1", "--source", "someone/reviews-server"),
    *("--set", "_WANDB_PROJECT=reviews", "--set", "_ENVIRONMENT=LOG_TEXT=hash;MAX_TEXTS=64"),
)


def run_setup(apis: GoogleApis, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tests/cloud/offline.py"), str(apis.socket)),
            *(sys.executable, "-m", "deploy", *COMMAND, *options),
        ],
        cwd=ROOT,
        env={**os.environ, **apis.environment(folder), "WANDB_API_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GoogleApis, Path, str]]:
    """A project after one set-up."""
    folder = tmp_path_factory.mktemp("setup")
    with GoogleApis(folder / "apis", CloudRunStandIn(lambda name, version: "", "unused")) as apis:
        yield apis, folder, run_setup(apis, folder)


def made(apis: GoogleApis, ending: str) -> dict[str, Any]:
    (found,) = (value for name, value in apis.resources.items() if name.endswith(ending))
    return found


def test_triggers_and_schedule_are_what_is_recorded(project: tuple[GoogleApis, Path, str]) -> None:
    apis, _, _ = project
    check_recorded("push-trigger", made(apis, "/triggers/id-of-sentiment-push"))
    check_recorded("schedule-trigger", made(apis, "/triggers/id-of-sentiment-schedule"))
    check_recorded("schedule-job", made(apis, "/jobs/sentiment-schedule"))


def test_accounts_have_the_least_rights(project: tuple[GoogleApis, Path, str]) -> None:
    apis, _, _ = project
    check_recorded("roles", apis.policies)
    roles = {role for bindings in apis.policies.values() for role in bindings}
    assert not roles & {"roles/owner", "roles/editor", "roles/run.admin", "roles/cloudbuild.builds.builder"}
    members = {member for bindings in apis.policies.values() for who in bindings.values() for member in who}
    assert "allUsers" not in members


def test_key_reaches_the_secret_and_no_command_line(project: tuple[GoogleApis, Path, str]) -> None:
    apis, _, printed = project
    assert KEY not in printed
    (call,) = (call for call in apis.calls if call.path.partition("?")[0].endswith(":addVersion"))
    import base64

    assert base64.b64decode(call.body["payload"]["data"]).decode() == KEY


def test_second_run_makes_nothing_anew(project: tuple[GoogleApis, Path, str]) -> None:
    apis, folder, _ = project
    before = json.loads(json.dumps([apis.resources, apis.policies]))
    apis.clear()
    printed = run_setup(apis, folder)
    assert " create " not in printed
    assert [apis.resources, apis.policies] == before


def test_dry_run_asks_nobody_and_prints_what_a_run_does(project: tuple[GoogleApis, Path, str]) -> None:
    apis, folder, printed = project
    apis.clear()
    dry = run_setup(apis, folder, "--dry-run")
    assert apis.calls == []
    assert dry.replace("TRIGGER_ID", "id-of-sentiment-schedule") == printed
