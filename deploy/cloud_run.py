"""One Cloud Run service, as gcloud shows and changes it."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.process import ReleaseError, gcloud, run
from deploy.settings import ReleaseSettings

CANDIDATE_TAG = "candidate"
REJECTED = "marquee/rejected-"
"""Annotations of the service: ``marquee/rejected-DIGEST``, with the image, the time and the reason."""


@dataclass(frozen=True)
class Revision:
    """One revision: which code and which model.

    Attributes:
        name: Cloud Run's.
        image: by digest.
        model_version: ``v7``.
        model_digest: W&B's.
        labels: what the build that made it wrote down.
    """

    name: str
    image: str
    model_version: str
    model_digest: str
    labels: Mapping[str, str]

    @property
    def model(self) -> str:
        """Which model, for people."""
        return f"{self.model_version or 'an unpinned model'} ({self.model_digest[:12] or 'no digest'})"


@dataclass(frozen=True)
class Service:
    """A service as it is now.

    Attributes:
        url: its own address.
        traffic: percent by revision, those with none left out.
        tags: ``{tag: (revision, address)}``.
        newest: the revision that was created last, which may have failed.
        rejected: what was written down about rejected models, by digest.
        conditions: of the service, by type: status and message.
    """

    url: str
    traffic: dict[str, int]
    tags: dict[str, tuple[str, str]]
    newest: str
    rejected: dict[str, dict[str, str]]
    conditions: dict[str, tuple[str, str]]

    @property
    def serving(self) -> str | None:
        """The revision with the most traffic, None where there is none."""
        return max(self.traffic, key=lambda name: self.traffic[name], default=None)


class CloudRun:
    """One service by its name, there or not."""

    def __init__(self, project: str, region: str, name: str) -> None:
        self._name = name
        self._place = ("--project", project, "--region", region)

    def service(self) -> Service | None:
        """Return the service as it is now, None where there is none yet."""
        found = gcloud("run", "services", "list", *self._place) or []
        ours = [item for item in found if item["metadata"]["name"] == self._name]
        return _service(ours[0]) if ours else None

    def revision(self, name: str) -> Revision:
        """Return a revision of the service."""
        found = gcloud("run", "revisions", "describe", name, *self._place)
        container = found["spec"]["containers"][0]
        variables = {item["name"]: item.get("value", "") for item in container.get("env", [])}
        return Revision(
            name,
            found.get("status", {}).get("imageDigest") or container["image"],
            variables.get("MODEL_VERSION", ""),
            variables.get("MODEL_DIGEST", ""),
            found["metadata"].get("labels", {}),
        )

    def deploy(
        self,
        settings: ReleaseSettings,
        candidate: Mapping[str, str],
        image: str,
        labels: Mapping[str, str],
        *,
        first: bool,
    ) -> str:
        """Deploy a candidate without traffic under the tag `CANDIDATE_TAG`; return its revision's name.

        Args:
            settings: account, secret, sizes and probes.
            candidate: `version` and `digest` of the model.
            image: by digest.
            labels: of the revision.
            first: whether nothing has traffic yet; the candidate then has that of a service that nobody may
                call but the build.

        Raises:
            ReleaseError: gcloud failed; whether a revision was made shows in the service.
        """
        revision = revision_name(settings, candidate)
        variables = {name: value for name, value in settings.model_environment.items() if value} | {
            "MODEL_VERSION": candidate["version"],
            "MODEL_DIGEST": candidate["digest"],
            "PREDICT_BY_GET": settings.further_environment.get("PREDICT_BY_GET", "false"),
            "GOOGLE_CLOUD_PROJECT": settings.project,
        }
        if settings.inference_project:
            variables["INFERENCE_PROJECT_NAME"] = settings.inference_project
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "environment.json"
            file.write_text(json.dumps(variables), "utf-8")
            run(
                [
                    *("gcloud", "run", "deploy", self._name, "--quiet", *self._place),
                    *("--no-allow-unauthenticated",) * first,
                    *("--no-traffic",) * (not first),
                    f"--image={image}",
                    f"--tag={CANDIDATE_TAG}",
                    f"--revision-suffix={revision.removeprefix(self._name + '-')}",
                    f"--labels={','.join(f'{name}={plain(value)}' for name, value in labels.items() if value)}",
                    f"--env-vars-file={file}",
                    f"--set-secrets=WANDB_API_KEY={settings.secret}:{settings.secret_version}",
                    f"--service-account={settings.run_account_address}",
                    *_sizing(settings),
                ]
            )
        return revision

    def move_traffic(self, revision: str) -> None:
        """Give one revision all the traffic, by its name: a later deployment moves nothing by itself."""
        gcloud(
            *("run", "services", "update-traffic", self._name, *self._place),
            f"--to-revisions={revision}=100",
        )

    def remove_tag(self) -> None:
        """Take the candidate's tag, and with it its address, away."""
        gcloud(
            *("run", "services", "update-traffic", self._name, *self._place),
            f"--remove-tags={CANDIDATE_TAG}",
        )

    def remember(self, digest: str, image: str, reason: str, now: str) -> None:
        """Write down on the service that a model was rejected; no revision comes of it."""
        self._annotate(digest, json.dumps({"image": image, "time": now, "reason": reason[:400]}))

    def forget(self, digest: str) -> None:
        """Take the rejection of a model back."""
        self._annotate(digest, "")

    def _annotate(self, digest: str, value: str) -> None:
        separator = next(sign for sign in "|~^%@" if sign not in value)
        gcloud(
            *("run", "services", "update", self._name, *self._place),
            f"--update-annotations=^{separator}^{REJECTED}{digest}={value}",
        )


def revision_name(settings: ReleaseSettings, candidate: Mapping[str, str]) -> str:
    """Return the name of the revision that this build makes: service, model version, build."""
    return f"{settings.service}-{candidate['version']}-{plain(settings.build)[:8]}"


def _sizing(settings: ReleaseSettings) -> list[str]:
    return [
        f"--memory={settings.memory}",
        f"--cpu={settings.cpu}",
        "--cpu-boost" if settings.cpu_boost == "true" else "--no-cpu-boost",
        "--no-cpu-throttling" if settings.cpu_always == "true" else "--cpu-throttling",
        f"--concurrency={settings.concurrency}",
        f"--timeout={settings.timeout}",
        f"--min-instances={settings.min_instances}",
        f"--max-instances={settings.max_instances}",
        f"--execution-environment={settings.execution}",
        "--port=8080",
        f"--startup-probe={settings.startup_probe}",
        f"--liveness-probe={settings.liveness_probe}",
    ]


def plain(value: str) -> str:
    """Return a value as a label may have it."""
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63]


def _service(found: dict[str, Any]) -> Service:
    status = found.get("status", {})
    traffic: dict[str, int] = {}
    tags = {}
    for target in status.get("traffic", []):
        name = target.get("revisionName", "")
        if target.get("percent"):
            traffic[name] = traffic.get(name, 0) + target["percent"]
        if target.get("tag"):
            tags[target["tag"]] = (name, target.get("url", ""))
    rejected = {
        name.removeprefix(REJECTED): _note(value)
        for name, value in found["metadata"].get("annotations", {}).items()
        if name.startswith(REJECTED) and value
    }
    conditions = {
        item["type"]: (item.get("status", ""), item.get("message", ""))
        for item in status.get("conditions", [])
    }
    return Service(
        status.get("url", ""),
        traffic,
        tags,
        status.get("latestCreatedRevisionName", ""),
        rejected,
        conditions,
    )


def _note(value: str) -> dict[str, str]:
    try:
        note = json.loads(value)
    except ValueError as error:
        raise ReleaseError(f"an annotation {REJECTED}… of the service is no JSON: {error}") from error
    return {name: str(note.get(name, "")) for name in ("image", "time", "reason")}
