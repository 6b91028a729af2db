"""gcloud's answers are read, its commands written, and a person's own commands do what they say."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy import __main__ as command_line
from deploy.cloud_run import CloudRun
from deploy.process import ReleaseError, in_image, run
from tests.deploy.support import NEW, OLD, settings_with

PLACE = ["--project", "films", "--region", "europe-west1"]


def shown(traffic: list[dict[str, Any]], **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "sentiment", "annotations": annotations},
        "status": {
            "url": "https://s.run.app",
            "latestCreatedRevisionName": "sentiment-v2",
            "traffic": traffic,
        },
    }


def revision_shown(name: str, digest: str, **labels: str) -> dict[str, Any]:
    variables = [
        {"name": "MODEL_VERSION", "value": name[-2:]},
        {"name": "MODEL_DIGEST", "value": digest},
        {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "k", "key": "1"}}},
    ]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"image": "i:tag", "env": variables}]},
        "status": {"imageDigest": "i@sha256:1"},
    }


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gcloud that writes down how it is called, and answers from files named after the noun and its name."""
    script = tmp_path / "bin" / "gcloud"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with (folder / 'calls').open('a') as file: file.write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "name = sys.argv[4] if sys.argv[3] == 'describe' else sys.argv[2]\n"
        "answer = folder / name\n"
        "if answer.exists(): print(answer.read_text())\n",
        "utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    traffic = [
        {"revisionName": "sentiment-v2", "percent": 100, "tag": "candidate", "url": "https://c.run.app"}
    ]
    note = json.dumps({"image": "i@sha256:1", "time": "now", "reason": "bad"})
    services = [
        shown(traffic, **{f"marquee/rejected-{NEW}": note, f"marquee/rejected-{OLD}": "", "other": "x"})
    ]
    (tmp_path / "services").write_text(json.dumps(services), "utf-8")
    for name, digest, labels in (
        ("sentiment-v2", NEW, {"replaces": "sentiment-v1"}),
        ("sentiment-v1", OLD, {}),
    ):
        (tmp_path / name).write_text(json.dumps(revision_shown(name, digest, **labels)), "utf-8")
    return tmp_path


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls").read_text("utf-8").splitlines()]


def test_service_is_read(gcloud: Path) -> None:
    service = CloudRun("films", "europe-west1", "sentiment").service()
    assert service is not None
    assert service.serving == "sentiment-v2"
    assert service.tags == {"candidate": ("sentiment-v2", "https://c.run.app")}
    assert service.rejected == {NEW: {"image": "i@sha256:1", "time": "now", "reason": "bad"}}
    assert CloudRun("films", "europe-west1", "films").service() is None


def test_revision_is_read(gcloud: Path) -> None:
    found = CloudRun("films", "europe-west1", "sentiment").revision("sentiment-v2")
    assert (found.image, found.model_version, found.model_digest) == ("i@sha256:1", "v2", NEW)


def test_deployment_says_everything_that_a_service_needs(gcloud: Path) -> None:
    settings = settings_with(CPU_ALWAYS="false", BUILD="1234ABCD-5678")
    labels = {"commit": "C0FFEE", "branch": "feature/X", "replaces": ""}
    candidate = {"version": "v3", "digest": NEW}
    name = CloudRun("films", "europe-west1", "sentiment").deploy(
        settings, candidate, "i@sha256:1", labels, first=False
    )
    assert name == "sentiment-v3-1234abcd"
    (call,) = calls(gcloud)
    assert call[:3] == ["run", "deploy", "sentiment"]
    for flag in (
        "--no-traffic", "--tag=candidate", "--revision-suffix=v3-1234abcd", "--labels=commit=c0ffee,branch=feature-x",
        "--set-secrets=WANDB_API_KEY=wandb-api-key:1", "--cpu-throttling", "--cpu-boost", "--memory=1Gi",
        "--service-account=marquee-run@films.iam.gserviceaccount.com",
    ):  # fmt: skip
        assert flag in call
    assert "--no-allow-unauthenticated" not in call


def test_rollback_gives_the_traffic_back_and_keeps_the_schedule_from_undoing_it(
    gcloud: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["rollback", *PLACE, "--service", "sentiment"]) == 0
    changes = [call for call in calls(gcloud) if call[2].startswith("update")]
    assert "--to-revisions=sentiment-v1=100" in changes[0]
    assert any(f"marquee/rejected-{NEW}=" in word and "rolled back by hand" in word for word in changes[1])
    assert capsys.readouterr().out.startswith("sentiment-v1 with v1 (aaaaaaaaaaaa) has the traffic")


def test_forget_takes_a_rejection_back(gcloud: Path) -> None:
    assert command_line.main(["forget", NEW, *PLACE, "--service", "sentiment"]) == 0
    assert calls(gcloud)[-1][-3].endswith(f"marquee/rejected-{NEW}=")


def test_command_that_cannot_be_done_says_why_in_one_line(
    gcloud: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["forget", "f" * 32, *PLACE, "--service", "sentiment"]) == 2
    assert "remembers no rejection" in capsys.readouterr().out
    assert command_line.main(["rollback", *PLACE, "--service", "films"]) == 2
    assert command_line.main(["plan"]) == 2
    assert "is empty: is a substitution of the trigger misspelt?" in capsys.readouterr().out


def test_missing_program_and_failing_program_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReleaseError, match="no-such-program is not installed here"):
        run(["no-such-program"])
    with pytest.raises(ReleaseError, match="failed with exit code 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"])


def test_secret_is_named_and_never_on_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ReleaseError, match="WANDB_API_KEY is empty: the step needs it as secretEnv"):
        in_image("i", ["-m", "x"], {}, ["WANDB_API_KEY"])
    monkeypatch.setenv("WANDB_API_KEY", "hidden")
    said = in_image("i", ["-m", "x"], {"A": "b", "EMPTY": ""}, ["WANDB_API_KEY"])
    assert said.split() == [
        "run",
        "--rm",
        "--env=A=b",
        "--env=WANDB_API_KEY",
        "--entrypoint=python",
        "i",
        "-m",
        "x",
    ]
