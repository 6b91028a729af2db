"""The set-up of a project, without gcloud: what it would do, and what it refuses in words. `tests/cloud` runs it."""

import json
from typing import Any

import pytest

from deploy import setup
from deploy.__main__ import main
from deploy.setup import Plan, Setup

ARGUMENTS = ["setup", "--project", "films", "--region", "europe-west1", "--source", "me/fork"]


@pytest.fixture
def gcloud(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was run; nothing is there yet."""
    ran: list[list[str]] = []

    def run(command: list[str], text: str | None = None) -> str:
        ran.append(command)
        return ""

    monkeypatch.setattr(setup, "run", run)
    monkeypatch.setattr(setup, "gcloud", lambda *arguments: {"id": "1234"})
    return ran


def triggers(printed: str) -> list[dict[str, Any]]:
    return [json.loads(part.partition("\nEND")[0]) for part in printed.split("<<'END'\n")[1:]]


def test_dry_run_runs_nothing_and_needs_no_key(
    gcloud: list[list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main([*ARGUMENTS, "--dry-run"]) == 0
    assert gcloud == []
    printed = capsys.readouterr().out
    assert "gcloud services enable " in printed
    assert "--oauth-service-account-email=marquee-schedule@films.iam.gserviceaccount.com" in printed
    push, schedule = triggers(printed)
    assert push["github"] == {"owner": "me", "name": "fork", "push": {"branch": "^master$"}}
    assert schedule["gitFileSource"]["path"] == "cloudbuild-scheduled.yaml"


def test_key_is_needed_once_and_never_shown(
    gcloud: list[list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main(ARGUMENTS) == 2
    assert "WANDB_API_KEY is empty" in capsys.readouterr().out
    monkeypatch.setenv("WANDB_API_KEY", "hidden")
    assert main(ARGUMENTS) == 0
    assert "hidden" not in capsys.readouterr().out
    assert not [word for command in gcloud for word in command if "hidden" in word]


def test_each_trigger_gets_the_substitutions_that_its_file_has(
    gcloud: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", "_EXTRAS=tensorflow", "--set", "_IMAGE_FROM=films", "--set", "_ENVIRONMENT=A=b;C=d,e"]
    assert main([*ARGUMENTS, *given, "--dry-run"]) == 0
    push, schedule = (trigger["substitutions"] for trigger in triggers(capsys.readouterr().out))
    assert ("_EXTRAS" in push, "_EXTRAS" in schedule) == (True, False)
    assert ("_IMAGE_FROM" in push, "_IMAGE_FROM" in schedule) == (False, True)
    assert push["_ENVIRONMENT"] == schedule["_ENVIRONMENT"] == "A=b;C=d,e"


def test_repository_of_the_second_generation(capsys: pytest.CaptureFixture[str]) -> None:
    name = "projects/films/locations/europe-west1/connections/c/repositories/r"
    Setup(Plan("films", "europe-west1", name), dry_run=True).run()
    push, schedule = triggers(capsys.readouterr().out)
    assert push["repositoryEventConfig"]["repository"] == name
    assert schedule["sourceToBuild"] == {"repository": name, "ref": "refs/heads/master"}


@pytest.mark.parametrize("pair", ["_SERVICE", "SERVICE=films"])
def test_substitution_that_is_none_is_refused(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--set", pair, "--dry-run"]) == 2
    assert "a substitution is written _NAME=VALUE" in capsys.readouterr().out
