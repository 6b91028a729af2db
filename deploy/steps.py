"""The steps of a release, in the order of the build files: plan, accept, deploy, try, promote."""

import json
from datetime import UTC, datetime
from typing import Any, NoReturn

from deploy.canary import identity_token, try_address
from deploy.cloud_run import CANDIDATE_TAG, CloudRun, Service, revision_name
from deploy.planning import LABEL_BRANCH, LABEL_BUILT, LABEL_COMMIT, LABEL_REPLACES, SECRETS, Planner, resolve
from deploy.process import RejectedError, ReleaseError, in_image, run
from deploy.settings import ReleaseSettings
from deploy.workspace import Workspace, last_json, say


class Steps:
    """The steps of one build."""

    def __init__(self, settings: ReleaseSettings, workspace: Workspace) -> None:
        self._settings = settings
        self._workspace = workspace
        self._cloud_run = CloudRun(settings.project, settings.region, settings.service)

    def plan(self) -> None:
        """Resolve the alias once, look at what has traffic, and decide whether there is anything to release."""
        Planner(self._settings, self._cloud_run, self._workspace).plan()

    # accept

    def accept(self) -> None:
        """Put the candidate to the acceptance test, in the image of the code that is to serve it."""
        plan = self._workspace.plan()
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
        verdict = last_json(in_image(plan["tools"], command, variables, SECRETS))
        if not verdict["accepted"]:
            self._reject(plan, "; ".join(verdict["reasons"]))
        self._workspace.write("golden", verdict["golden"])
        say(f"{candidate['version']} passed the acceptance test")

    # deploy

    def deploy(self) -> None:
        """Deploy the candidate without traffic."""
        plan = self._workspace.plan()
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
        self._workspace.write("candidate", {"revision": revision})
        say(f"{revision} is deployed under the tag {CANDIDATE_TAG}; the traffic has not moved")

    def _explain_failed_start(self, plan: dict[str, Any]) -> None:
        """Reject the candidate if it is its own fault that it did not start, and say so; return otherwise."""
        service = self._cloud_run.service()
        if service is None or service.newest != revision_name(self._settings, plan["candidate"]):
            return
        status, message = service.conditions.get("ConfigurationsReady", ("", ""))
        if status != "False":
            return
        # Where W&B does not answer now, the candidate is not to blame.
        resolve(self._settings, plan["tools"])
        self._workspace.write("candidate", {"revision": service.newest})
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
        found = self._own_candidate()
        if found is None:
            return
        plan, service, revision = found
        try:
            asked = self._ask(plan, service, service.tags[CANDIDATE_TAG][1], revision)
        except RejectedError as error:
            self._reject(plan, f"{revision}: {error}")
        say(f"{revision} is healthy, is {plan['candidate']['version']}, and answered {asked} golden examples")

    def _ask(self, plan: dict[str, Any], service: Service, address: str, revision: str) -> int:
        token = identity_token(service.url)
        golden = self._workspace.read("golden")
        return try_address(address, token, revision=revision, model=plan["candidate"], golden=golden)

    # promote

    def promote(self) -> None:
        """Move the traffic to the candidate, look at it there, and move it back where it does not answer."""
        found = self._own_candidate()
        if found is None:
            return
        plan, service, revision = found
        if self._overtaken(plan, service):
            return
        before = plan.get("current", {}).get("name")
        self._cloud_run.move_traffic(revision)
        try:
            self._ask(plan, service, service.url, revision)
        except (RejectedError, ReleaseError) as error:
            if before:
                self._cloud_run.move_traffic(before)
                say(f"the traffic is back at {before}")
            if isinstance(error, ReleaseError):
                raise
            self._reject(plan, f"{revision}, once it had the traffic: {error}")
        say(
            f"{revision} with {plan['candidate']['artifact']} has the traffic; before it was {before or 'nothing'}"
        )

    # What may stop a release

    def _overtaken(self, plan: dict[str, Any], service: Service | None) -> bool:
        """Whether another build moved the traffic since `plan`; then this one must not."""
        expected = plan.get("current", {}).get("name")
        found = (service.serving if service else None) or None
        if found == expected or (found and expected is None and self._is_own(found)):
            return False
        return self._give_way(plan, found)

    def _is_own(self, revision: str) -> bool:
        return self._workspace.candidate() == revision

    def _own_candidate(self) -> tuple[dict[str, Any], Service, str] | None:
        """Return the plan, the service and this build's candidate; None where there is nothing (more) to do.

        Raises:
            ReleaseError: another build's candidate has the tag, and something would be lost by giving way.
        """
        plan = self._workspace.plan()
        if plan is None:
            return None
        service = self._cloud_run.service()
        revision = self._workspace.candidate()
        if service is None or service.tags.get(CANDIDATE_TAG, ("", ""))[0] != revision:
            if not self._overtaken(plan, service):
                self._give_way(plan, None)
            return None
        return plan, service, revision

    def _give_way(self, plan: dict[str, Any], found: str | None) -> bool:
        """End the release green where nothing is lost by it, else say what to do."""
        who = f"{found} has the traffic now" if found else "another build has deployed its candidate since"
        if not self._settings.revision:
            self._workspace.nothing(f"overtaken: {who}; the next scheduled build looks again")
            return True
        newer = self._cloud_run.revision(found) if found else None
        if newer and newer.labels.get(LABEL_BUILT, "") > plan["built"]:
            self._workspace.nothing(f"overtaken: {who}, of a build that started later")
            return True
        raise ReleaseError(f"overtaken: {who}; the traffic stays there. Run this build again")

    def _reject(self, plan: dict[str, Any], reason: str) -> NoReturn:
        """Leave the traffic where it is, write the rejection down, and end the build with the reason.

        Raises:
            RejectedError: always.
        """
        candidate, current = plan["candidate"], plan.get("current")
        service = self._cloud_run.service()
        revision = self._workspace.candidate()
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
            say(f"the rejection could not be written down, so the next schedule tries again: {error}")
            return False
        return True
