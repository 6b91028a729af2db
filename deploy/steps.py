"""The steps of a release, in the order of the build files: plan, accept, deploy, try, promote.

What a step learns it writes into ``.release/`` of the workspace, which the steps of a build share.
"""

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from deploy.canary import identity_token, try_address
from deploy.cloud_run import CANDIDATE_TAG, CloudRun, Revision, Service, plain, revision_name
from deploy.process import RejectedError, ReleaseError, in_image, run
from deploy.settings import ReleaseSettings

STATE = Path(".release")
SECRETS = ("WANDB_API_KEY",)
LABEL_COMMIT, LABEL_BUILT, LABEL_BRANCH, LABEL_REPLACES = "commit", "built", "branch", "replaces"


class Steps:
    """The steps of one build."""

    def __init__(self, settings: ReleaseSettings, folder: Path = STATE) -> None:
        self._settings = settings
        self._folder = folder
        self._cloud_run = CloudRun(settings.project, settings.region, settings.service)

    # plan

    def plan(self) -> None:
        """Resolve the alias once, look at what has traffic, and decide whether there is anything to release."""
        service = self._cloud_run.service()
        current = self._current(service)
        if self._settings.revision:
            self._plan_push(current)
        else:
            self._plan_scheduled(service, current)

    def _plan_push(self, current: Revision | None) -> None:
        settings = self._settings
        built = self._read_text("started")
        if current and current.labels.get(LABEL_BUILT, "") > built:
            self._nothing(f"overtaken: {current.name} of a build that started later has the traffic")
            return
        tools = f"{settings.image_url}-tools:{settings.revision}"
        self._release(
            current, self._resolve(tools), tools=tools, commit=settings.revision, built=built, image=""
        )

    def _plan_scheduled(self, service: Service | None, current: Revision | None) -> None:
        settings = self._settings
        code = self._code(current)
        if service is None or current is None:
            self._release(None, self._resolve(code.image), **_code_of(code))
            return
        branch = current.labels.get(LABEL_BRANCH, "")
        if branch and settings.branch and branch != plain(settings.branch):
            raise ReleaseError(
                f"{current.name} is of the branch {branch}, and this build of {settings.branch}: give each branch "
                "a service of its own (_SERVICE)"
            )
        if len(service.traffic) > 1:
            shares = ", ".join(f"{name} {percent} %" for name, percent in service.traffic.items())
            self._nothing(
                f"traffic is split by hand ({shares}): give one revision all of it, and this goes on"
            )
            return
        candidate = self._resolve(code.image)
        named = f"{settings.model_name}:{settings.model_version} is {candidate['version']}"
        note = service.rejected.get(candidate["digest"])
        if candidate["digest"] == current.model_digest and code.image == current.image:
            self._nothing(f"{named}, which has the traffic already ({current.name})")
        elif note and note["image"] == code.image:
            self._nothing(
                f"{named}, which was rejected for this image at {note['time']}: {note['reason']}. "
                "It is not tried again: publish another version, or see docs/delivery.md"
            )
        else:
            self._release(current, candidate, **_code_of(code))

    def _code(self, current: Revision | None) -> Revision:
        """Return the revision whose image a scheduled build deploys: its own, or that of the service it follows."""
        settings = self._settings
        name = settings.service
        if settings.image_from:
            name = settings.image_from
            current = self._current(CloudRun(settings.project, settings.region, name).service())
        if current is None:
            raise ReleaseError(f"{name} has no revision with traffic yet: push to build the first one")
        if not current.labels.get(LABEL_COMMIT):
            raise ReleaseError(f"{current.name} was not made by cloudbuild.yaml: push once, so that it is")
        return current

    def _release(self, current: Revision | None, candidate: Mapping[str, str], **code: str) -> None:
        settings = self._settings
        had = f"{current.name} with {current.model}" if current else "nothing yet"
        _say(f"candidate: {candidate['artifact']} (digest {candidate['digest']}); traffic: {had}")
        plan = {"release": True, "candidate": candidate, **code}
        if current:
            plan["current"] = {
                "name": current.name,
                "version": current.model_version,
                "digest": current.model_digest,
            }
        self._write("plan", plan)
        # Read by the shell of the build step, where the model is baked into the image.
        (self._folder / "bake-arguments").write_text(
            "\n".join(
                f"{name}={value}"
                for name, value in {
                    "MODEL_NAME": settings.model_name,
                    "MODEL_VERSION": candidate["version"],
                    "MODEL_DIGEST": candidate["digest"],
                    "PROJECT_NAME": settings.wandb_project,
                    "WANDB_ENTITY": settings.wandb_entity,
                    "WANDB_BASE_URL": settings.wandb_base_url,
                }.items()
            )
            + "\n",
            "utf-8",
        )

    def _resolve(self, image: str) -> dict[str, str]:
        variables = {**self._settings.model_environment, "MODEL_VERSION": self._settings.model_version}
        answer = in_image(image, ["-m", "app.services.registry"], variables, SECRETS)
        return dict(_last_json(answer))

    # accept

    def accept(self) -> None:
        """Put the candidate to the acceptance test, in the image of the code that is to serve it."""
        plan = self._plan()
        if plan is None:
            return
        candidate, current = plan["candidate"], plan.get("current")
        command = [
            "-m",
            "ml",
            "gate",
            f"--acceptance={self._settings.acceptance}",
            f"--floor={self._settings.floor}",
        ]
        if current and current["version"] and current["digest"]:
            command.append(f"--against={current['version']}:{current['digest']}")
        variables = {
            **self._settings.model_environment,
            "MODEL_VERSION": candidate["version"],
            "MODEL_DIGEST": candidate["digest"],
        }
        verdict = _last_json(in_image(plan["tools"], command, variables, SECRETS))
        if not verdict["accepted"]:
            self._reject(plan, "; ".join(verdict["reasons"]))
        self._write("golden", verdict["golden"])
        _say(f"{candidate['version']} passed the acceptance test")

    # deploy

    def deploy(self) -> None:
        """Deploy the candidate without traffic."""
        plan = self._plan()
        if plan is None:
            return
        service = self._cloud_run.service()
        if self._overtaken(plan, service):
            return
        image = plan["image"] or self._pushed_image()
        labels = {
            LABEL_COMMIT: plan["commit"],
            LABEL_BUILT: plan["built"],
            LABEL_BRANCH: self._settings.branch,
            "model": self._settings.model_name,
            "model-version": plan["candidate"]["version"],
            "model-digest": plan["candidate"]["digest"],
            LABEL_REPLACES: plan.get("current", {}).get("name", ""),
            "managed-by": "marquee",
        }
        try:
            first = service is None or not service.serving
            revision = self._cloud_run.deploy(self._settings, plan["candidate"], image, labels, first=first)
        except ReleaseError:
            self._explain_failed_start(plan)
            raise
        self._write("candidate", {"revision": revision})
        _say(f"{revision} is deployed under the tag {CANDIDATE_TAG}; the traffic has not moved")

    def _explain_failed_start(self, plan: dict[str, Any]) -> None:
        """Reject the candidate if it is its own fault that it did not start, and say so; return otherwise."""
        service = self._cloud_run.service()
        if service is None or service.newest != revision_name(self._settings, plan["candidate"]):
            return
        status, message = service.conditions.get("ConfigurationsReady", ("", ""))
        if status != "False":
            return
        self._resolve(plan["tools"])  # Where W&B does not answer now, the candidate is not to blame.
        self._write("candidate", {"revision": service.newest})
        self._reject(plan, f"{service.newest} did not become ready: {message}")

    def _pushed_image(self) -> str:
        settings = self._settings
        found = run(
            [
                "docker",
                "image",
                "inspect",
                "--format={{json .RepoDigests}}",
                f"{settings.image_url}:{settings.revision}",
            ]
        )
        for digest in json.loads(found):
            if digest.startswith(f"{settings.image_url}@"):
                return str(digest)
        raise ReleaseError(f"{settings.image_url}:{settings.revision} has no digest: it was not pushed")

    # try

    def try_candidate(self) -> None:
        """Ask the candidate at its own address: health, which model it is, its golden examples."""
        plan = self._plan()
        if plan is None:
            return
        service = self._cloud_run.service()
        revision = self._read("candidate")["revision"]
        if service is None or service.tags.get(CANDIDATE_TAG, ("", ""))[0] != revision:
            self._overtaken_by_tag(plan, service)
            return
        try:
            asked = self._ask(plan, service, service.tags[CANDIDATE_TAG][1], revision)
        except RejectedError as error:
            self._reject(plan, f"{revision}: {error}")
        _say(
            f"{revision} is healthy, is {plan['candidate']['version']}, and answered {asked} golden examples"
        )

    def _ask(self, plan: dict[str, Any], service: Service, address: str, revision: str) -> int:
        token = identity_token(service.url)
        golden = self._read("golden")
        return try_address(address, token, revision=revision, model=plan["candidate"], golden=golden)

    # promote

    def promote(self) -> None:
        """Move the traffic to the candidate, look at it there, and move it back where it does not answer."""
        plan = self._plan()
        if plan is None:
            return
        service = self._cloud_run.service()
        revision = self._read("candidate")["revision"]
        if service is None or service.tags.get(CANDIDATE_TAG, ("", ""))[0] != revision:
            self._overtaken_by_tag(plan, service)
            return
        if self._overtaken(plan, service):
            return
        before = plan.get("current", {}).get("name")
        self._cloud_run.move_traffic(revision)
        try:
            self._ask(plan, service, service.url, revision)
        except (RejectedError, ReleaseError) as error:
            if before:
                self._cloud_run.move_traffic(before)
                _say(f"the traffic is back at {before}")
            if isinstance(error, ReleaseError):
                raise
            self._reject(plan, f"{revision}, once it had the traffic: {error}")
        _say(
            f"{revision} with {plan['candidate']['artifact']} has the traffic; before it was {before or 'nothing'}"
        )

    # What may stop a release

    def _overtaken(self, plan: dict[str, Any], service: Service | None) -> bool:
        """Whether another build moved the traffic since `plan`; then this one must not."""
        expected = plan.get("current", {}).get("name")
        found = service.serving if service else None
        if found == expected or (found and expected is None and self._is_own(found)):
            return False
        return self._give_way(plan, found)

    def _is_own(self, revision: str) -> bool:
        file = self._folder / "candidate.json"
        return file.is_file() and self._read("candidate")["revision"] == revision

    def _overtaken_by_tag(self, plan: dict[str, Any], service: Service | None) -> None:
        if not self._overtaken(plan, service):
            self._give_way(plan, None)

    def _give_way(self, plan: dict[str, Any], found: str | None) -> bool:
        """End the release green where nothing is lost by it, else say what to do."""
        who = f"{found} has the traffic now" if found else "another build has deployed its candidate since"
        if not self._settings.revision:
            self._nothing(f"overtaken: {who}; the next scheduled build looks again")
            return True
        newer = self._cloud_run.revision(found) if found else None
        if newer and newer.labels.get(LABEL_BUILT, "") > plan["built"]:
            self._nothing(f"overtaken: {who}, of a build that started later")
            return True
        raise ReleaseError(f"overtaken: {who}; the traffic stays there. Run this build again")

    def _reject(self, plan: dict[str, Any], reason: str) -> NoReturn:
        """Leave the traffic where it is, write the rejection down, and end the build with the reason.

        Raises:
            RejectedError: always.
        """
        candidate, current = plan["candidate"], plan.get("current")
        service = self._cloud_run.service()
        file = self._folder / "candidate.json"
        revision = self._read("candidate")["revision"] if file.is_file() else None
        remembered = False
        if service and plan["image"]:
            remembered = self._remember(candidate["digest"], plan["image"], reason)
        if current and service and revision and service.tags.get(CANDIDATE_TAG, ("", ""))[0] == revision:
            self._cloud_run.remove_tag()
        stays = "Nothing has traffic"
        if current:
            stays = f"The traffic stays at {current['name']} ({current['version']})"
        tail = ", and this model is not tried again with this image" if remembered else ""
        raise RejectedError(f"{candidate['artifact']} is rejected: {reason}\n{stays}{tail}.")

    def _remember(self, digest: str, image: str, reason: str) -> bool:
        """Write a rejection down; where that fails, the reason must still be the last that is said."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        try:
            self._cloud_run.remember(digest, image, reason, now)
        except ReleaseError as error:
            _say(f"the rejection could not be written down, so the next schedule tries again: {error}")
            return False
        return True

    # State

    def _current(self, service: Service | None) -> Revision | None:
        return self._cloud_run.revision(service.serving) if service and service.serving else None

    def _plan(self) -> dict[str, Any] | None:
        """Return the plan, None where there is nothing to release."""
        plan = self._read("plan")
        if plan["release"]:
            return dict(plan)
        _say(f"nothing to do: {plan['why']}")
        return None

    def _nothing(self, why: str) -> None:
        self._write("plan", {"release": False, "why": why})
        # The build step's shell looks for this file.
        (self._folder / "nothing").write_text(why + "\n", "utf-8")
        _say(f"nothing to do: {why}")

    def _write(self, name: str, content: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    def _read(self, name: str) -> Any:
        return json.loads(self._read_text(f"{name}.json"))

    def _read_text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text("utf-8").strip()
        except FileNotFoundError:
            raise ReleaseError(f"{self._folder / name} is missing: an earlier step did not run") from None


def _code_of(revision: Revision) -> dict[str, str]:
    """What a plan says of the code: the images that serve and test, the commit, when its build started."""
    commit = revision.labels[LABEL_COMMIT]
    return {
        "image": revision.image,
        "tools": f"{revision.image.partition('@')[0]}-tools:{commit}",
        "commit": commit,
        "built": revision.labels.get(LABEL_BUILT, ""),
    }


def _last_json(output: str) -> Any:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ReleaseError("the image answered nothing that can be read; see above")
    return json.loads(lines[-1])


def _say(line: str) -> None:
    sys.stdout.write(line + os.linesep)
    sys.stdout.flush()
