"""A container as Cloud Run or Knative would run it, on this machine's Docker: `contract` says what it must do."""

import http.client
import ipaddress
import json
import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def docker(*arguments: str, check: bool = True) -> str:
    """Run the Docker client and return what it printed; an error carries what it complained of."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def engine_answers() -> bool:
    """Whether a Docker engine can be reached, here or where DOCKER_HOST says."""
    try:
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def a_free_port() -> int:
    """Return a port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bridge_address() -> str:
    """Return the address of this machine on the engine's own network: what listens there is reached by containers."""
    place = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    return str(place.get("Gateway") or next(ipaddress.ip_network(place["Subnet"]).hosts()))


def byte_count(quantity: str) -> int:
    """Return the bytes of a Kubernetes quantity such as ``512Mi``."""
    match = re.fullmatch(r"(\d+)([KMG]i?)?", quantity)
    assert match is not None, f"not a memory quantity: {quantity}"
    return int(match[1]) * _UNITS[match[2] or ""]


def cpu_count(quantity: str) -> float:
    """Return the CPUs of a Kubernetes quantity such as ``1`` or ``1500m``."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


@dataclass(frozen=True)
class Terms:
    """What one service gives its container.

    Attributes:
        memory, cpu: limits, as Kubernetes quantities.
        environment: the plain variables.
        secrets: the variables that come from secrets; they must be nowhere in the image.
        start_seconds: how long the start-up may take; Cloud Run allows 240.
        stop_seconds: from SIGTERM to SIGKILL.
    """

    memory: str = "1Gi"
    cpu: str = "1"
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 120
    stop_seconds: int = 10

    @classmethod
    def of_service(cls, service: Mapping[str, Any], secret: Callable[[str, str], str]) -> Self:
        """Read them from a Knative or Cloud Run Service (v1).

        Args:
            service: the body.
            secret: returns a secret's value, by its name and key (on Cloud Run the version).
        """
        (container,) = service["spec"]["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        plain = {item["name"]: item.get("value", "") for item in container["env"] if "valueFrom" not in item}
        references = {
            item["name"]: item["valueFrom"]["secretKeyRef"]
            for item in container["env"]
            if "valueFrom" in item
        }
        return cls(
            memory=limits["memory"],
            cpu=str(limits["cpu"]),
            environment=plain,
            secrets={name: secret(given["name"], given["key"]) for name, given in references.items()},
        )


@dataclass(frozen=True)
class Stop:
    """How a container ended: after how many seconds, with which code, and whether for want of memory."""

    seconds: float
    exit_code: int
    out_of_memory: bool


class Container:
    """One container under the contract; a context manager that leaves nothing behind."""

    def __init__(self, image: str, terms: Terms, *options: str) -> None:
        """Prepare it; `options` are further ones of ``docker run``."""
        self.port = a_free_port()
        self.name = f"marquee-contract-{uuid.uuid4().hex[:12]}"
        self.terms = terms
        memory = str(byte_count(terms.memory))
        variables = {
            "PORT": str(self.port), "K_SERVICE": "contract", "K_REVISION": "contract-00001",
            "K_CONFIGURATION": "contract", **terms.environment,
        }  # fmt: skip
        # Secrets go by the client's own environment: a command line is for everyone to see.
        names = [item for name in terms.secrets for item in ("--env", name)]
        self._command = [
            "docker", "create", "--name", self.name, "--pull", "never",
            "--publish", f"127.0.0.1:{self.port}:{self.port}",
            "--read-only", "--tmpfs", f"/tmp:rw,nosuid,nodev,mode=1777,size={memory}",
            "--memory", memory, "--memory-swap", memory, "--cpus", str(cpu_count(terms.cpu)), "--pids-limit", "1024",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            *(item for name, value in variables.items() for item in ("--env", f"{name}={value}")),
            *names, *options, image,
        ]  # fmt: skip
        self.started = 0.0

    def __enter__(self) -> Self:
        done = subprocess.run(
            self._command,
            env={**os.environ, **self.terms.secrets},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.started = time.monotonic()
        docker("start", self.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)

    @property
    def logs(self) -> str:
        """All that it printed."""
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def inspect(self, what: str) -> str:
        return docker("inspect", "--format", f"{{{{{what}}}}}", self.name)

    def run(self, *command: str) -> str:
        """Run a command inside, as the container's own user."""
        return docker("exec", self.name, *command)

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 60) -> tuple[int, Any]:
        """Send one request; return the status and the JSON of the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def wait_until_ready(self) -> float:
        """Return the seconds from the start of the container to the first 200 of its readiness.

        Raises:
            AssertionError: it ended, or the time for the start is over.
        """
        checked = time.monotonic()
        while (now := time.monotonic()) - self.started < self.terms.start_seconds:
            try:
                if self.ask("GET", "/health/ready", timeout=5)[0] == 200:
                    return time.monotonic() - self.started
            except (OSError, ValueError, http.client.HTTPException):
                if now - checked > 1:
                    checked = now
                    running = self.inspect(".State.Running")
                    assert running == "true", (
                        f"it ended with {self.inspect('.State.ExitCode')}: {self.logs[-2000:]}"
                    )
            time.sleep(0.01)
        raise AssertionError(f"not ready on PORT after {self.terms.start_seconds:g} s: {self.logs[-2000:]}")

    def wait_until_healthy(self, seconds: float = 30) -> None:
        """Wait for Docker's own health check."""
        deadline = time.monotonic() + seconds
        status = ""
        while time.monotonic() < deadline:
            status = docker(
                "inspect", "--format", "{{if .State.Health}}{{.State.Health.Status}}{{end}}", self.name
            )
            if status in ("", "healthy"):
                break
            time.sleep(0.2)
        assert status == "healthy", f"the image's health check says {status or 'nothing: it has none'}"

    def memory(self) -> tuple[int, int]:
        """Return the bytes that count against the limit, files under /tmp among them: now, and at most so far."""
        now = self.run(
            "sh", "-c", "cat /sys/fs/cgroup/memory.current || cat /sys/fs/cgroup/memory/memory.usage_in_bytes"
        )
        most = self.run(
            "sh",
            "-c",
            "cat /sys/fs/cgroup/memory.peak || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes",
        )
        return int(now), int(most)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all in it so far; unlike the clock's, a busy machine hardly changes it."""
        told = self.run("sh", "-c", "cat /sys/fs/cgroup/cpuacct/cpuacct.usage || cat /sys/fs/cgroup/cpu.stat")
        if told.isdigit():
            return int(told) / 1e9
        match = re.search(r"usage_usec (\d+)", told)
        assert match is not None, told
        return int(match[1]) / 1e6

    def stop(self) -> Stop:
        """Send SIGTERM, and SIGKILL once its time is over."""
        began = time.time()
        docker("stop", "--time", str(self.terms.stop_seconds), self.name)
        finished = re.sub(r"\.(\d{1,6})\d*Z$", r".\1+00:00", self.inspect(".State.FinishedAt"))
        return Stop(
            datetime.fromisoformat(finished).timestamp() - began,
            int(self.inspect(".State.ExitCode")),
            self.inspect(".State.OOMKilled") == "true",
        )


def compressed_size(image: str) -> int:
    """Return the bytes of the image's layers as a registry keeps them: by gzip, at its default level."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        with subprocess.Popen(["gzip", "-6", "-c"], stdin=save.stdout, stdout=subprocess.PIPE) as gzip:
            assert gzip.stdout is not None
            total = 0
            while chunk := gzip.stdout.read(1 << 20):
                total += len(chunk)
        assert gzip.returncode == 0
    assert save.returncode == 0
    return total
