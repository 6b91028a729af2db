"""The first step: which model, which code, and whether there is anything to release."""

from collections.abc import Mapping

from deploy.cloud_run import CloudRun, Revision, Service, plain
from deploy.process import ReleaseError, in_image
from deploy.settings import ReleaseSettings
from deploy.workspace import Workspace, last_json, say

SECRETS = ("WANDB_API_KEY",)
LABEL_COMMIT, LABEL_BUILT, LABEL_BRANCH, LABEL_REPLACES = "commit", "built", "branch", "replaces"


def resolve(settings: ReleaseSettings, image: str) -> dict[str, str]:
    """Ask W&B, with the code of an image, which version and digest the alias means now.

    Raises:
        ReleaseError: W&B does not answer, or there is no such version.
    """
    variables = {**settings.model_environment, "MODEL_VERSION": settings.model_version}
    return last_json(in_image(image, ["-m", "app.services.registry"], variables, SECRETS))


class Planner:
    """Writes the plan that the later steps follow."""

    def __init__(self, settings: ReleaseSettings, cloud_run: CloudRun, workspace: Workspace) -> None:
        self._settings = settings
        self._cloud_run = cloud_run
        self._workspace = workspace

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
        built = self._workspace.read_text("started")
        if current and current.labels.get(LABEL_BUILT, "") > built:
            self._workspace.nothing(
                f"overtaken: {current.name} of a build that started later has the traffic"
            )
            return
        tools = f"{settings.image_url}-tools:{settings.revision}"
        self._release(
            current,
            resolve(self._settings, tools),
            tools=tools,
            commit=settings.revision,
            built=built,
            image="",
        )

    def _plan_scheduled(self, service: Service | None, current: Revision | None) -> None:
        settings = self._settings
        code = self._code(current)
        if service is None or current is None:
            self._release(None, resolve(self._settings, code.image), **_code_of(code))
            return
        branch = current.labels.get(LABEL_BRANCH, "")
        if branch and settings.branch and branch != plain(settings.branch):
            raise ReleaseError(
                f"{current.name} is of the branch {branch}, and this build of {settings.branch}: give each branch "
                "a service of its own (_SERVICE)"
            )
        if len(service.traffic) > 1:
            shares = ", ".join(f"{name} {percent} %" for name, percent in service.traffic.items())
            self._workspace.nothing(
                f"traffic is split by hand ({shares}): give one revision all of it, and this goes on"
            )
            return
        candidate = resolve(self._settings, code.image)
        named = f"{settings.model_name}:{settings.model_version} is {candidate['version']}"
        note = service.rejected.get(candidate["digest"])
        if candidate["digest"] == current.model_digest and code.image == current.image:
            self._workspace.nothing(f"{named}, which has the traffic already ({current.name})")
        elif note and note["image"] == code.image:
            self._workspace.nothing(
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
        say(f"candidate: {candidate['artifact']} (digest {candidate['digest']}); traffic: {had}")
        plan = {"release": True, "candidate": candidate, **code}
        if current:
            plan["current"] = {
                "name": current.name,
                "version": current.model_version,
                "digest": current.model_digest,
            }
        self._workspace.write("plan", plan)
        arguments = {
            "MODEL_NAME": settings.model_name,
            "MODEL_VERSION": candidate["version"],
            "MODEL_DIGEST": candidate["digest"],
            "PROJECT_NAME": settings.wandb_project,
            "WANDB_ENTITY": settings.wandb_entity,
            "WANDB_BASE_URL": settings.wandb_base_url,
        }
        # For the build step's shell, where the model is baked into the image.
        self._workspace.write_text(
            "bake-arguments", "\n".join(f"{name}={value}" for name, value in arguments.items())
        )

    def _current(self, service: Service | None) -> Revision | None:
        return self._cloud_run.revision(service.serving) if service and service.serving else None


def _code_of(revision: Revision) -> dict[str, str]:
    """What a plan says of the code: the images that serve and test, the commit, when its build started."""
    commit = revision.labels[LABEL_COMMIT]
    return {
        "image": revision.image,
        "tools": f"{revision.image.partition('@')[0]}-tools:{commit}",
        "commit": commit,
        "built": revision.labels.get(LABEL_BUILT, ""),
    }
