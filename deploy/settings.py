"""What a build is told: variables of `options.env` in the build files, one for each substitution."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from deploy.process import ReleaseError

_PREFIX = "RELEASE_"
_MAY_BE_EMPTY = {
    "revision",
    "image_url",
    "image_from",
    "branch",
    "wandb_entity",
    "wandb_base_url",
    "inference_project",
    "environment",
    "model_parameters",
}
_PATTERNS = {
    "service": (r"[a-z][a-z0-9-]{0,40}[a-z0-9]", "2 to 42 lower case letters, digits and dashes"),
    "secret_version": (r"\d+", "a number: a key is pinned, so that a new one is tried before it is used"),
    "cpu_boost": (r"true|false", "true or false"),
    "cpu_always": (r"true|false", "true or false"),
    "min_instances": (r"\d+", "a number"),
    "max_instances": (r"[1-9]\d*", "a number from 1"),
    "concurrency": (r"[1-9]\d*", "a number from 1"),
    "floor": (r"0(\.\d+)?|1(\.0+)?", "a share between 0 and 1"),
    "acceptance": (
        r"sentences|golden",
        "`sentences` (a sentiment model) or `golden` (any other: its own examples)",
    ),
}


@dataclass(frozen=True)
class ReleaseSettings:
    """One build's configuration. Field `x` is the variable ``RELEASE_X`` and, by default, the substitution ``_X``."""

    project: str
    """The Google Cloud project."""
    region: str
    """Of Cloud Run."""
    service: str
    """The Cloud Run service."""
    branch: str
    """Of the commit. A scheduled build leaves a service of another branch alone."""
    image_url: str
    """The serving image's name without tag; empty in the scheduled build, which takes what has traffic."""
    image_from: str
    """Another service whose image this one follows, for several services from one push; its own image where empty."""
    revision: str
    """The commit that the image is built from; empty in the scheduled build."""
    build: str
    """Cloud Build's id of this build."""
    model_name: str
    """The artifact's name."""
    model_version: str
    """An alias, which is resolved once, or a version."""
    wandb_project: str
    wandb_entity: str
    wandb_base_url: str
    """Empty for W&B's own."""
    inference_project: str
    """The W&B project of the inferences where it is not `wandb_project`."""
    secret: str
    """The secret in Secret Manager that holds W&B's key."""
    secret_version: str
    run_account: str
    """The service account that the service runs as, without its domain or as a whole address."""
    acceptance: str
    floor: str
    """The accuracy on the acceptance texts that a candidate must reach."""
    loader: str
    """MODEL_LOADER of the service and of the acceptance test."""
    model_parameters: str
    """MODEL_PARAMETERS, as JSON."""
    environment: str
    """Further variables of the service: ``NAME=value;NAME=value``."""
    memory: str
    cpu: str
    cpu_boost: str
    cpu_always: str
    """Whether an instance has its CPU between requests too: the inference log needs it."""
    concurrency: str
    timeout: str
    min_instances: str
    max_instances: str
    execution: str
    startup_probe: str
    liveness_probe: str

    @property
    def run_account_address(self) -> str:
        """The run account as a whole address."""
        if "@" in self.run_account:
            return self.run_account
        return f"{self.run_account}@{self.project}.iam.gserviceaccount.com"

    @property
    def model_environment(self) -> dict[str, str]:
        """What the app reads, but for the key and the pinned version."""
        return {
            "MODEL_SOURCE": "wandb",
            "PROJECT_NAME": self.wandb_project,
            "WANDB_ENTITY": self.wandb_entity,
            "WANDB_BASE_URL": self.wandb_base_url,
            "LOCAL_MODEL_NAME": self.model_name,
            "MODEL_LOADER": self.loader,
            "MODEL_PARAMETERS": self.model_parameters,
            **self.further_environment,
        }

    @property
    def further_environment(self) -> dict[str, str]:
        """`environment`, parsed.

        Raises:
            ReleaseError: a part is not of the form NAME=value.
        """
        values = {}
        for part in filter(None, (part.strip() for part in self.environment.split(";"))):
            name, sign, value = part.partition("=")
            if not sign or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
                raise ReleaseError(f"_ENVIRONMENT: {name!r} … is not of the form NAME=value;NAME=value")
            values[name] = value
        return values


def read_settings(environment: Mapping[str, str]) -> ReleaseSettings:
    """Read the settings of this build.

    Raises:
        ReleaseError: a variable is empty or malformed. In a triggered build a misspelt substitution is silently
            empty, so nothing is taken as it comes.
    """
    values = {
        field.name: environment.get(_PREFIX + field.name.upper(), "").strip()
        for field in fields(ReleaseSettings)
    }
    empty = [f"_{name.upper()}" for name, value in values.items() if not value and name not in _MAY_BE_EMPTY]
    if empty:
        raise ReleaseError(f"{', '.join(empty)} is empty: is a substitution of the trigger misspelt?")
    for name, (pattern, meaning) in _PATTERNS.items():
        if not re.fullmatch(pattern, values[name]):
            raise ReleaseError(f"_{name.upper()} is {values[name]!r}, and must be {meaning}")
    settings = ReleaseSettings(**values)
    _ = settings.further_environment
    return settings
