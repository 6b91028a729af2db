"""Other programs: gcloud and docker, started without a shell, their failures told in one line."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any


class ReleaseError(Exception):
    """The release cannot go on: the machinery failed, not the model. The message says how to mend it."""


class RejectedError(Exception):
    """The candidate was tried and found wanting; the message says why."""


def run(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, text: str | None = None
) -> str:
    """Run a command and return its standard output; its standard error goes to the build's log.

    Args:
        command: the program and its arguments.
        environment: variables to add. Secrets belong here: the command's line is repeated in errors.
        text: its standard input.

    Raises:
        ReleaseError: it is not installed, or it failed.
    """
    if shutil.which(command[0]) is None:
        raise ReleaseError(f"{command[0]} is not installed here")
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command[:4])} …` failed with exit code {done.returncode}; see above")
    return done.stdout


def gcloud(*arguments: str) -> Any:
    """Run gcloud without questions and return what it answers, parsed; None for no answer.

    Raises:
        ReleaseError: it failed.
    """
    output = run(["gcloud", *arguments, "--quiet", "--format=json"])
    return json.loads(output) if output.strip() else None


def in_image(
    image: str, command: Sequence[str], environment: Mapping[str, str], secrets: Sequence[str]
) -> str:
    """Run a Python command in one of the project's images; return what it wrote to standard output.

    Args:
        image: pulled where the machine does not have it.
        command: what follows ``python``.
        environment: the container's variables.
        secrets: names of variables of this process that the container gets too, in no command line.

    Raises:
        ReleaseError: a secret is missing, or the command failed.
    """
    missing = [name for name in secrets if not os.environ.get(name)]
    if missing:
        raise ReleaseError(f"{', '.join(missing)} is empty: the step needs it as secretEnv")
    options = [f"--env={name}={value}" for name, value in environment.items() if value]
    options += [f"--env={name}" for name in secrets]
    return run(["docker", "run", "--rm", *options, "--entrypoint=python", image, *command])
