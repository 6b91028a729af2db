"""Set a project up for the build files, once or again: what is there already is left, or brought up to date."""

import json
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.process import ReleaseError, gcloud, run

APIS = (
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
)


@dataclass(frozen=True)
class Plan:
    """What is to be there.

    Attributes:
        project: the Google Cloud project.
        region: of everything.
        source: ``OWNER/NAME`` on GitHub, or a whole name ``projects/…/repositories/…`` of the second generation.
        branch: whose pushes are deployed.
        service: the Cloud Run service; triggers and job carry its name.
        schedule: when the scheduled build runs, in cron's form.
        repository: of Artifact Registry.
        secret: of Secret Manager.
        build_account: the account's name, without its domain.
        run_account: as `build_account`.
        schedule_account: as `build_account`.
        substitutions: for both triggers.
    """

    project: str
    region: str
    source: str
    branch: str = "master"
    service: str = "sentiment"
    schedule: str = "23 * * * *"
    repository: str = "marquee"
    secret: str = "wandb-api-key"  # noqa: S105 - a name
    build_account: str = "marquee-build"
    run_account: str = "marquee-run"
    schedule_account: str = "marquee-schedule"
    substitutions: dict[str, str] = field(default_factory=dict)

    def address(self, account: str) -> str:
        """Return an account's whole address."""
        return f"{account}@{self.project}.iam.gserviceaccount.com"


class Setup:
    """Brings a project to a `Plan`, or prints the commands that would."""

    def __init__(self, plan: Plan, *, dry_run: bool = False) -> None:
        self._plan = plan
        self._dry_run = dry_run
        self._place = ("--project", plan.project)
        self._found: dict[tuple[str, ...], set[str]] = {}

    def run(self) -> None:
        """Do it all, in the order in which one thing needs another.

        Raises:
            ReleaseError: gcloud failed, or the key is missing.
        """
        plan = self._plan
        self._do("services", "enable", *APIS)
        self._make(
            ("artifacts", "repositories"), plan.repository, "--location", plan.region,
            create=("--repository-format=docker", "--description=Images of the model server"),
        )  # fmt: skip
        for account, purpose in (
            (plan.build_account, "Builds, tests and deploys the model server"),
            (plan.run_account, "The model server runs as this"),
            (plan.schedule_account, "Starts the scheduled build"),
        ):
            self._make(
                ("iam", "service-accounts"), plan.address(account),
                create=(f"--display-name={purpose}",), name=account,
            )  # fmt: skip
        self._secret()
        self._bucket()
        self._roles()
        self._triggers()
        self._job()

    def _secret(self) -> None:
        plan = self._plan
        if self._there(("secrets",), plan.secret):
            return
        key = os.environ.get("WANDB_API_KEY", "")
        if not key and not self._dry_run:
            raise ReleaseError(
                "WANDB_API_KEY is empty: set it for this command, once, so that the secret can be made"
            )
        self._do(
            "secrets", "create", plan.secret, "--replication-policy=automatic", "--data-file=-", text=key
        )

    def _bucket(self) -> None:
        """Where `make deploy` puts the checkout for the build to fetch."""
        bucket = f"{self._plan.project}-marquee-source"
        if not self._there(("storage", "buckets"), bucket):
            self._do(
                *("storage", "buckets", "create", f"gs://{bucket}", f"--location={self._plan.region}"),
                *("--uniform-bucket-level-access", "--public-access-prevention"),
            )
        member = f"serviceAccount:{self._plan.address(self._plan.build_account)}"
        self._bind(("storage", "buckets"), f"gs://{bucket}", member, "storage.objectViewer")

    def _roles(self) -> None:
        plan = self._plan
        build, serve, schedule = (
            f"serviceAccount:{plan.address(account)}"
            for account in (plan.build_account, plan.run_account, plan.schedule_account)
        )
        for role in ("logging.logWriter", "run.developer", "run.invoker"):
            self._bind(("projects",), plan.project, build, role, "--condition=None")
        self._bind(("projects",), plan.project, schedule, "cloudbuild.builds.editor", "--condition=None")
        self._bind(
            ("artifacts", "repositories"),
            plan.repository,
            build,
            "artifactregistry.writer",
            "--location",
            plan.region,
        )
        for member in (build, serve):
            self._bind(("secrets",), plan.secret, member, "secretmanager.secretAccessor")
        accounts = ("iam", "service-accounts")
        # The build deploys as the run account; the schedule starts builds as the build account, which asks for
        # identity tokens of its own to try a candidate.
        self._bind(accounts, plan.address(plan.run_account), build, "iam.serviceAccountUser")
        self._bind(accounts, plan.address(plan.build_account), schedule, "iam.serviceAccountUser")
        self._bind(accounts, plan.address(plan.build_account), build, "iam.serviceAccountOpenIdTokenCreator")

    def _triggers(self) -> None:
        plan = self._plan
        substitutions = {
            "_REGION": plan.region,
            "_SERVICE": plan.service,
            "_SECRET": plan.secret,
            "_RUN_ACCOUNT": plan.run_account,
            **plan.substitutions,
        }
        owner, _, name = plan.source.partition("/")
        place: dict[str, str] = {"uri": f"https://github.com/{plan.source}", "repoType": "GITHUB"}
        pushes: dict[str, Any] = {"push": {"branch": f"^{plan.branch}$"}}
        if plan.source.startswith("projects/"):
            place = {"repository": plan.source}
            event = {"repositoryEventConfig": {"repository": plan.source, **pushes}}
        else:
            event = {"github": {"owner": owner, "name": name, **pushes}}
        self._trigger(
            "push",
            {**event, "filename": "cloudbuild.yaml"},
            {"_REPOSITORY": plan.repository, **_without(substitutions, SCHEDULE_ONLY)},
        )
        head = f"refs/heads/{plan.branch}"
        self._trigger(
            "schedule",
            {
                "sourceToBuild": {**place, "ref": head},
                "gitFileSource": {**place, "path": "cloudbuild-scheduled.yaml", "revision": head},
            },
            _without(substitutions, PUSH_ONLY),
        )

    def _trigger(self, kind: str, event: dict[str, Any], substitutions: dict[str, str]) -> None:
        """Make a trigger, or make the one of that name what it should be: `import` does either."""
        plan = self._plan
        content = {
            "name": f"{plan.service}-{kind}",
            **event,
            "serviceAccount": f"projects/{plan.project}/serviceAccounts/{plan.address(plan.build_account)}",
            "substitutions": substitutions,
        }
        place = ("--region", plan.region, "--source=/dev/stdin")
        self._do("builds", "triggers", "import", *place, text=json.dumps(content, indent=2) + "\n", show=True)

    def _job(self) -> None:
        """Have the manual trigger run on schedule; with an OAuth token, as Google's own APIs want it."""
        plan = self._plan
        name, place = f"{plan.service}-schedule", ("--location", plan.region)
        trigger = "TRIGGER_ID"
        if not self._dry_run:
            found = gcloud("builds", "triggers", "describe", name, "--region", plan.region, *self._place)
            trigger = found["id"]
        parent = f"projects/{plan.project}/locations/{plan.region}"
        flags = [
            f"--schedule={plan.schedule}",
            "--time-zone=Etc/UTC",
            f"--uri=https://cloudbuild.googleapis.com/v1/{parent}/triggers/{trigger}:run",
            "--http-method=POST",
            f"--oauth-service-account-email={plan.address(plan.schedule_account)}",
            # The trigger fixes the branch; a body that repeats it may be refused.
            "--message-body={}",
        ]
        verb = "update" if self._there(("scheduler", "jobs"), name, *place) else "create"
        headers = "--update-headers" if verb == "update" else "--headers"
        self._do(
            "scheduler",
            "jobs",
            verb,
            "http",
            name,
            *place,
            *flags,
            f"{headers}=Content-Type=application/json",
        )

    # One thing

    def _make(
        self, group: tuple[str, ...], resource: str, *place: str, create: Sequence[str], name: str = ""
    ) -> None:
        if not self._there(group, resource, *place):
            self._do(*group, "create", name or resource, *place, *create)

    def _bind(self, group: tuple[str, ...], resource: str, member: str, role: str, *place: str) -> None:
        """Binding twice is binding once."""
        self._do(
            *group, "add-iam-policy-binding", resource, *place, f"--member={member}", f"--role=roles/{role}"
        )

    def _there(self, group: tuple[str, ...], name: str, *place: str) -> bool:
        """Whether a thing is there. A dry run asks nobody, and takes it that nothing is."""
        if self._dry_run:
            return False
        if group not in self._found:
            command = [
                "gcloud",
                *group,
                "list",
                *place,
                *self._place,
                "--quiet",
                "--format=value(name,email)",
            ]
            self._found[group] = set(run(command).split())
        return any(name in (word, word.rpartition("/")[2]) for word in self._found[group])

    def _do(self, *arguments: str, text: str | None = None, show: bool = False) -> None:
        """Print a command, with its standard input where that may be shown, and run it."""
        command = ["gcloud", *arguments, *self._place, "--quiet"]
        line = shlex.join(command) + (f" <<'END'\n{text}END" if show else "")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if not self._dry_run:
            run(command, text=text)


def _without(substitutions: dict[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in substitutions.items() if name not in names}


PUSH_ONLY = {"_REPOSITORY", "_IMAGE", "_IMAGE_URL", "_REVISION", "_EXTRAS", "_BAKE_MODEL", "_TEST_ARGS"}
"""Substitutions that only cloudbuild.yaml has."""

SCHEDULE_ONLY = {"_IMAGE_FROM"}
"""Substitutions that only cloudbuild-scheduled.yaml has."""
