"""Read a build file as strictly as Cloud Build: its schema, its steps' order, its substitutions in either mode.

Rules: https://cloud.google.com/build/docs/build-config-file-schema and
https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUILT_IN = (
    "PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "TRIGGER_NAME", "TRIGGER_BUILD_CONFIG_PATH", "COMMIT_SHA",
    "REVISION_ID", "SHORT_SHA", "REPO_NAME", "REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME",
    "SERVICE_ACCOUNT_EMAIL", "SERVICE_ACCOUNT",
)  # fmt: skip
_REFERENCE = re.compile(r"\$\$|\$\{([A-Z_][A-Z0-9_]*)\}|\$([A-Z_][A-Z0-9_]*)|\$\{([^}]*)\}?")
_USER_NAME = re.compile(r"_[A-Z0-9_]+")


class BuildFileError(ValueError):
    """Cloud Build would refuse the file, or read it otherwise than it looks; the message lists why."""


@dataclass(frozen=True)
class Step:
    """One step with everything substituted."""

    id: str
    image: str
    entrypoint: str
    args: tuple[str, ...]
    script: str
    env: dict[str, str]
    secrets: tuple[str, ...]
    dir: str
    wait_for: tuple[str, ...] | None
    allow_failure: bool


@dataclass(frozen=True)
class Build:
    """A build that may be run.

    Attributes:
        steps: in the file's order.
        secrets: the name of a secret's version by the variable that holds it.
        images: pushed when all steps have succeeded.
        substitutions: every user substitution with its value.
        options: as the file has them.
        timeout: in seconds.
    """

    steps: tuple[Step, ...]
    secrets: dict[str, str]
    images: tuple[str, ...]
    substitutions: dict[str, str]
    options: dict[str, Any]
    timeout: float


@dataclass
class _Substitution:
    values: dict[str, str]
    loose: bool
    used: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> str:
        return _REFERENCE.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1] or match[2]
        if not name:
            self.problems.append(f"{match[0]} is no substitution: write $$ for a dollar of the shell's")
            return ""
        self.used.add(name)
        if name not in self.values:
            if not (self.loose and name.startswith("_")):
                kind = "defined" if name.startswith("_") else "a built-in substitution"
                self.problems.append(f"the substitution {name} is not {kind}")
            return ""
        return self.values[name]


def read_build(
    source: Path | str,
    *,
    built_in: Mapping[str, str] | None = None,
    substitutions: Mapping[str, str] | None = None,
    triggered: bool = False,
) -> Build:
    """Read a build file.

    Args:
        source: the file, or its text.
        built_in: values of built-in substitutions; the others are empty, as in a build that has no such thing.
        substitutions: what the trigger or the command gives.
        triggered: as a trigger runs it, with ALLOW_LOOSE and dynamic substitutions whatever the file says; else as
            `gcloud builds submit` does.

    Raises:
        BuildFileError: with every problem that was found.
    """
    raw = _parsed(source)
    options = raw.get("options") or {}
    problems = [] if raw.get("steps") else ["there are no steps"]
    given, declared = (
        dict(substitutions or {}),
        {k: str(v) for k, v in (raw.get("substitutions") or {}).items()},
    )
    problems += [
        f"the substitution {name} must match _[A-Z0-9_]+"
        for name in declared
        if not _USER_NAME.fullmatch(name)
    ]
    loose = triggered or options.get("substitutionOption") == "ALLOW_LOOSE"
    if not loose:
        problems += [
            f"the substitution {name} is given, and the file has none of that name"
            for name in given.keys() - declared
        ]
    dynamic = triggered or bool(options.get("dynamicSubstitutions"))
    substitute = _Substitution(dict.fromkeys(BUILT_IN, "") | dict(built_in or {}) | declared | given, loose)
    if dynamic:
        # A value may refer to another that refers to a third; each is looked at once more than it is deep.
        for _ in range(3):
            for name in declared | given:
                substitute.values[name] = substitute(substitute.values[name])
    problems += _problems_of_steps(raw)
    steps = tuple(
        _step(step, number, options, substitute) for number, step in enumerate(raw.get("steps") or [])
    )
    secrets = {
        item["env"]: substitute(item["versionName"])
        for item in (raw.get("availableSecrets") or {}).get("secretManager", [])
    }
    images = tuple(substitute(image) for image in raw.get("images") or [])
    for tag in raw.get("tags") or []:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", substitute(tag)):
            problems.append(f"the tag {substitute(tag)!r} is not one")
    if not loose:
        unused = declared.keys() - substitute.used
        problems += [f"the substitution {name} is used nowhere" for name in sorted(unused)]
    problems += _problems_of_options(raw, options)
    problems += list(dict.fromkeys(substitute.problems))
    if problems:
        raise BuildFileError("; ".join(problems))
    timeout = float(str(raw.get("timeout", "3600s")).removesuffix("s"))
    values = {name: substitute.values[name] for name in declared | given}
    return Build(steps, secrets, images, values, options, timeout)


def _parsed(source: Path | str) -> dict[str, Any]:
    import yaml
    from google.cloud.devtools.cloudbuild_v1.types import Build as Message
    from google.protobuf import json_format

    text = source.read_text("utf-8") if isinstance(source, Path) else source
    try:
        raw = yaml.safe_load(text)
        json_format.ParseDict(raw, Message.pb(Message()), ignore_unknown_fields=False)
    except (yaml.YAMLError, json_format.ParseError, AttributeError, TypeError) as error:
        raise BuildFileError(f"not as the schema has it: {error}") from error
    return dict(raw)


def _problems_of_steps(raw: dict[str, Any]) -> list[str]:
    problems, seen = [], {"-"}
    known = {item["env"] for item in (raw.get("availableSecrets") or {}).get("secretManager", [])}
    for number, step in enumerate(raw.get("steps") or []):
        name = step.get("id") or f"#{number}"
        if not step.get("name"):
            problems.append(f"step {name} has no name of an image")
        if name in seen:
            problems.append(f"two steps have the id {name}")
        problems += [
            f"step {name} waits for {other}, which is not defined before it"
            for other in step.get("waitFor") or []
            if other not in seen
        ]
        seen.add(name)
        problems += [
            f"step {name}: env {item!r} is not NAME=value"
            for item in step.get("env") or []
            if "=" not in item
        ]
        if step.get("script") and (step.get("args") or step.get("entrypoint")):
            problems.append(f"step {name} has a script, which excludes args and entrypoint")
        problems += [
            f"step {name}: the secret {item} is in no availableSecrets"
            for item in step.get("secretEnv") or []
            if item not in known
        ]
    return problems


def _problems_of_options(raw: dict[str, Any], options: dict[str, Any]) -> list[str]:
    problems = []
    if options.get("logging") not in ("CLOUD_LOGGING_ONLY", "NONE") and not raw.get("logsBucket"):
        problems.append("a build with a service account of its own needs logging: CLOUD_LOGGING_ONLY")
    if any("push" in str(step.get("args")) for step in raw.get("steps") or []) and raw.get("images"):
        problems.append("images are pushed after all steps, and a step pushes already")
    return problems


def _step(step: dict[str, Any], number: int, options: dict[str, Any], substitute: _Substitution) -> Step:
    pairs = [substitute(item) for item in [*(options.get("env") or []), *(step.get("env") or [])]]
    # A script is taken as it stands, unless the substitutions are mapped to variables.
    mapped = bool(step.get("automapSubstitutions") or options.get("automapSubstitutions"))
    env = dict(substitute.values) if mapped else {}
    if mapped:
        substitute.used |= substitute.values.keys()
    args = step.get("args") or []
    return Step(
        id=step.get("id") or f"#{number}",
        image=substitute(step.get("name", "")),
        entrypoint=substitute(step.get("entrypoint", "")),
        args=tuple(substitute(item) for item in ([args] if isinstance(args, str) else args)),
        script=step.get("script", ""),
        env=env | dict(pair.partition("=")[::2] for pair in pairs),
        secrets=tuple(step.get("secretEnv") or ()),
        dir=substitute(step.get("dir", "")),
        wait_for=tuple(step["waitFor"]) if step.get("waitFor") else None,
        allow_failure=bool(step.get("allowFailure")),
    )


def gcloud_problems(build: Build) -> list[str]:
    """Have gcloud itself look at the flags of the commands that steps call directly; it asks nobody."""
    import json
    import shlex
    import subprocess

    problems = []
    for step in build.steps:
        if step.entrypoint != "gcloud" and not step.image.endswith("cloud-builders/gcloud"):
            continue
        command = shlex.join(["gcloud", *step.args])
        checked = subprocess.run(
            ["gcloud", "meta", "lint-gcloud-commands", f"--command-string={command}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        problems += [
            item["error_message"]
            for item in json.loads(checked.stdout.partition("\n")[0])
            if not item["success"]
        ]
    return problems
