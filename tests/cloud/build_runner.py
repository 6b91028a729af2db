"""Run a build step by step, as Cloud Build would, on this machine.

Google's own builders cannot be had everywhere, so two images are stood in for by this machine's programs: a step of
``gcr.io/cloud-builders/docker`` runs here with this machine's Docker, a step of ``…/cloudsdktool/cloud-sdk`` with its
gcloud, its Docker and a Python without packages, in a network that has nothing but the stand-in for Google's APIs.
Every other image runs as it is.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cloud.build_file import Build, Step, read_build
from tests.cloud.google_apis import PROJECT, GoogleApis

ROOT = Path(__file__).resolve().parents[2]
_DOCKER = re.compile(r"gcr\.io/cloud-builders/docker(:.*)?")
_CLOUD_SDK = re.compile(r"gcr\.io/google\.com/cloudsdktool/(cloud-sdk|google-cloud-cli)(:.*)?")
_PASSED_ON = ("PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "LANG", "TMPDIR", "SSL_CERT_FILE")


@dataclass
class Result:
    """What became of a build.

    Attributes:
        build: its id.
        failed: the step that failed, None for a green build.
        lines: the log, each with its step.
        seconds: what each step took.
        folder: the workspace.
    """

    build: str
    folder: Path
    failed: str | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def green(self) -> bool:
        return self.failed is None

    @property
    def log(self) -> str:
        """The log as a reader sees it."""
        return "\n".join(f"{step}: {line}" for step, line in self.lines)

    def last(self, count: int = 2) -> str:
        """The last lines, without the step's name."""
        return "\n".join(line for _, line in self.lines[-count:])

    def of(self, step: str) -> str:
        """What one step said."""
        return "\n".join(line for name, line in self.lines if name == step)


class BuildRunner:
    """Runs builds of one checkout against one stand-in."""

    def __init__(self, apis: GoogleApis, folder: Path, source: Path = ROOT) -> None:
        self._apis = apis
        self._folder = folder
        self._source = source
        self._bin = folder / "bin"
        self._bin.mkdir(parents=True)
        python = self._bin / "python3"
        # As in Google's image: the standard library and nothing else.
        base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
        python.write_text(f'#!/bin/sh\nexec "{base}" -S "$@"\n', "utf-8")
        python.chmod(0o755)

    def run(
        self,
        file: str,
        *,
        substitutions: Mapping[str, str] | None = None,
        built_in: Mapping[str, str] | None = None,
        triggered: bool = True,
        before: Mapping[str, Callable[[], object]] | None = None,
    ) -> Result:
        """Run a build file of the checkout to its end.

        Args:
            file: its name.
            substitutions: as the trigger gives them.
            built_in: further built-in substitutions, such as COMMIT_SHA.
            triggered: see `read_build`.
            before: what else happens just before a step starts, by the step's id: another build, a hand.

        Raises:
            BuildFileError: the file is refused.
        """
        identity = str(uuid.uuid4())
        known = {"PROJECT_ID": PROJECT, "BUILD_ID": identity, "LOCATION": "us-central1", **(built_in or {})}
        build = read_build(
            self._source / file, built_in=known, substitutions=substitutions, triggered=triggered
        )
        workspace = self._folder / identity
        self._check_out(workspace)
        result = Result(identity, workspace)
        done = {step.id: threading.Event() for step in build.steps}
        threads = [
            threading.Thread(
                target=self._step, args=(build, step, build.steps[:number], done, result, before or {})
            )
            for number, step in enumerate(build.steps)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for image in build.images if result.green else ():
            subprocess.run(["docker", "push", "--quiet", image], check=True, capture_output=True)
        return result

    def _check_out(self, workspace: Path) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self._source, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (self._source / name).is_file():
                target = workspace / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._source / name, target)

    def _step(
        self,
        build: Build,
        step: Step,
        earlier: tuple[Step, ...],
        done: dict[str, threading.Event],
        result: Result,
        before: Mapping[str, Callable[[], object]],
    ) -> None:
        names = (
            [other.id for other in earlier]
            if step.wait_for is None
            else [n for n in step.wait_for if n != "-"]
        )
        for name in names:
            done[name].wait()
        if result.green:
            before.get(step.id, lambda: None)()
            code = self._execute(build, step, result)
            if code and not step.allow_failure:
                result.failed = step.id
        done[step.id].set()

    def _execute(self, build: Build, step: Step, result: Result) -> int:
        values = {name: self._apis.secrets[build.secrets[name]] for name in step.secrets}
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"HOME": str(self._folder / "home"), **step.env, **values}
        (self._folder / "home").mkdir(exist_ok=True)
        where = result.folder / step.dir
        if _DOCKER.fullmatch(step.image):
            command = _command(step, "docker")
        elif _CLOUD_SDK.fullmatch(step.image):
            environment["PATH"] = f"{self._bin}{os.pathsep}{environment['PATH']}"
            environment |= self._apis.environment(self._folder / "sdk")
            offline = [sys.executable, str(ROOT / "tests" / "cloud" / "offline.py"), str(self._apis.socket)]
            command = [*offline, *_command(step, "")]
        else:
            command, where = self._in_image(step, values, result.folder), result.folder
        started = time.monotonic()
        with subprocess.Popen(
            command, cwd=where, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                result.lines.append((step.id, line.rstrip()))
        result.seconds[step.id] = time.monotonic() - started
        return process.returncode

    def _in_image(self, step: Step, secrets: Mapping[str, str], workspace: Path) -> list[str]:
        command = ["docker", "run", "--rm", "--volume", f"{workspace}:/workspace", "--workdir", "/workspace"]
        if step.dir:
            command[-1] = str(Path("/workspace") / step.dir)
        for name, value in step.env.items():
            command += ["--env", f"{name}={value}"]
        for name in secrets:
            command += ["--env", name]
        if step.script:
            return [*command, "--entrypoint", "sh", step.image, "-c", step.script]
        return [
            *command,
            *(["--entrypoint", step.entrypoint] if step.entrypoint else []),
            step.image,
            *step.args,
        ]


def _command(step: Step, default: str) -> list[str]:
    if step.script:
        return ["sh", "-c", step.script]
    program = step.entrypoint or default
    return [*([program] if program else []), *step.args]
