"""A project in memory: what `deploy` asks of gcloud, Docker and the candidate, answered without either."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy import planning
from deploy import steps as steps_module
from deploy.cloud_run import CANDIDATE_TAG, Revision, Service, revision_name
from deploy.process import RejectedError, ReleaseError
from deploy.settings import ReleaseSettings, read_settings
from deploy.steps import Steps
from deploy.workspace import Workspace

IMAGE = "europe-west1-docker.pkg.dev/films/marquee/marquee"
OLD, NEW = "a" * 32, "b" * 32
DEFAULTS = {
    "PROJECT": "films", "REGION": "europe-west1", "SERVICE": "sentiment", "BRANCH": "master", "BUILD": "1234abcd-5678",
    "MODEL_NAME": "sentiment", "MODEL_VERSION": "latest", "WANDB_PROJECT": "reviews", "SECRET": "wandb-api-key",
    "SECRET_VERSION": "1", "RUN_ACCOUNT": "marquee-run", "ACCEPTANCE": "sentences", "FLOOR": "0.93", "LOADER": "auto",
    "MEMORY": "1Gi", "CPU": "1", "CPU_BOOST": "true", "CPU_ALWAYS": "true", "CONCURRENCY": "16", "TIMEOUT": "60s",
    "MIN_INSTANCES": "0", "MAX_INSTANCES": "4", "EXECUTION": "gen2", "STARTUP_PROBE": "httpGet.path=/health/ready",
    "LIVENESS_PROBE": "httpGet.path=/health/live",
}  # fmt: skip


def settings_with(**changes: str) -> ReleaseSettings:
    return read_settings({f"RELEASE_{name}": value for name, value in (DEFAULTS | changes).items()})


def revision(name: str, digest: str = OLD, version: str = "v1", **labels: str) -> Revision:
    described = {"commit": "c0ffee", "built": "20260101-000000", "branch": "master"} | labels
    return Revision(name, f"{IMAGE}@sha256:1", version, digest, described)


@dataclass
class World:
    """What is deployed, what W&B says, and how the candidate does.

    Attributes:
        deployed: revisions by name.
        traffic: percent by revision.
        tag: the revision that the candidate's tag points to.
        latest: what the alias means now: version and digest.
        verdict: of the acceptance test.
        answers: the errors that trying the candidate meets, one a call, None for none.
        starts: whether a candidate becomes ready.
        done: what was changed, in words, in order.
    """

    deployed: dict[str, Revision] = field(default_factory=dict)
    traffic: dict[str, int] = field(default_factory=dict)
    tag: str = ""
    latest: tuple[str, str] = ("v2", NEW)
    verdict: dict[str, Any] = field(default_factory=lambda: {"accepted": True, "reasons": [], "golden": {}})
    answers: list[Exception | None] = field(default_factory=list)
    starts: bool = True
    rejected: dict[str, dict[str, str]] = field(default_factory=dict)
    newest: str = ""
    done: list[str] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)

    def service(self) -> Service | None:
        if not self.deployed:
            return None
        ready = ("True", "") if self.starts else ("False", "it needed more memory than its limit")
        tags = {CANDIDATE_TAG: (self.tag, "http://candidate")} if self.tag else {}
        return Service(
            "http://service",
            dict(self.traffic),
            tags,
            self.newest,
            self.rejected,
            {"ConfigurationsReady": ready},
        )

    def revision(self, name: str) -> Revision:
        return self.deployed[name]

    def deploy(
        self,
        settings: ReleaseSettings,
        candidate: dict[str, str],
        image: str,
        labels: dict[str, str],
        *,
        first: bool,
    ) -> str:
        name = revision_name(settings, candidate)
        self.deployed[name] = Revision(name, image, candidate["version"], candidate["digest"], labels)
        self.newest = name
        self.done.append(f"deploy {name}{' first' if first else ''}")
        if not self.starts:
            raise ReleaseError("gcloud failed")
        self.tag = name
        if first:
            self.traffic = {name: 100}
        return name

    def move_traffic(self, name: str) -> None:
        self.traffic = {name: 100}
        self.done.append(f"traffic {name}")

    def remove_tag(self) -> None:
        self.tag = ""
        self.done.append("untag")

    def remember(self, digest: str, image: str, reason: str, now: str) -> None:
        self.rejected[digest] = {"image": image, "reason": reason, "time": now}
        self.done.append(f"remember {digest[:1]}")

    def in_image(
        self, image: str, command: list[str], environment: dict[str, str], secrets: tuple[str, ...]
    ) -> str:
        import json

        self.asked.append([image, *command])
        assert environment["MODEL_SOURCE"] == "wandb"
        if "gate" in command:
            return json.dumps(self.verdict)
        version, digest = self.latest
        return json.dumps(
            {"artifact": f"acme/reviews/sentiment:{version}", "version": version, "digest": digest}
        )

    def try_address(self, *arguments: Any, **keywords: Any) -> int:
        if self.answers and (error := self.answers.pop(0)):
            raise error
        return 20


class Run:
    """One build of a `World`."""

    def __init__(self, world: World, folder: Path, **changes: str) -> None:
        self.steps = Steps(settings_with(**changes), Workspace(folder / ".release"))
        self.steps._cloud_run = world  # type: ignore[assignment]
        self.folder = folder / ".release"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "started").write_text("20260601-000000\n", "utf-8")

    def until(self, last: str) -> None:
        for name in ("plan", "accept", "deploy", "try_candidate", "promote"):
            getattr(self.steps, name)()
            if name == last:
                return


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A service with one revision and all the traffic; W&B has a newer version."""
    made = World(deployed={"sentiment-v1": revision("sentiment-v1")}, traffic={"sentiment-v1": 100})
    for module in (steps_module, planning):
        monkeypatch.setattr(module, "in_image", made.in_image)
    monkeypatch.setattr(steps_module, "try_address", made.try_address)
    monkeypatch.setattr(steps_module, "identity_token", lambda audience: f"token for {audience}")
    monkeypatch.setattr(planning, "CloudRun", lambda *names: made)
    return made


__all__ = [
    "IMAGE",
    "NEW",
    "OLD",
    "RejectedError",
    "ReleaseError",
    "Run",
    "World",
    "revision",
    "settings_with",
    "world",
]
