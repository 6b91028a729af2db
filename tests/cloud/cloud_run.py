"""Cloud Run, as far as a deployment needs it: services and revisions in its v1 API, each revision a container here."""

import copy
import hashlib
import http.client
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_SERVICES = re.compile(r"/apis/serving\.knative\.dev/v1/namespaces/([^/]+)/services(?:/([^/]+))?")
_REVISIONS = re.compile(r"/apis/serving\.knative\.dev/v1/namespaces/[^/]+/revisions/([^/]+)")
_TIME = "2026-01-01T00:00:00.000000Z"
_NUMBER = "123456789012"


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; a body that is no bytes goes as JSON."""

    status: int
    body: Any
    content_type: str = "application/json"


@dataclass
class Revision:
    """One revision and its container."""

    name: str
    template: dict[str, Any]
    container: str = ""
    port: int = 0
    ready: bool | None = None
    message: str = ""

    @property
    def image(self) -> str:
        return str(self.template["spec"]["containers"][0]["image"])

    @property
    def environment(self) -> dict[str, str]:
        """The plain variables; secrets are not among them."""
        variables = self.template["spec"]["containers"][0].get("env", [])
        return {item["name"]: item.get("value", "") for item in variables if "valueFrom" not in item}

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"].get("labels", {}))

    @property
    def memory(self) -> str:
        return str(self.template["spec"]["containers"][0]["resources"]["limits"]["memory"])


@dataclass
class CloudRunStandIn:
    """Keeps services; a new template is started with Docker and probed before it is ready.

    Attributes:
        secret: returns a secret's value, by name and version.
        disturb: what a visitor gets instead of the service's answer, by host and path; None for the answer.
        prefix: of the containers' names.
    """

    secret: Callable[[str, str], str]
    prefix: str
    disturb: Callable[[str, str], Reply | None] = field(default=lambda host, path: None)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    revisions: dict[str, Revision] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _version: int = 0

    # The API

    def answer(self, method: str, path: str, body: Any) -> Reply | None:
        with self._lock:
            if match := _REVISIONS.fullmatch(path):
                found = self.revisions.get(match[1])
                return Reply(200, self._shown(found)) if found else _not_found(match[1])
            if not (match := _SERVICES.fullmatch(path)):
                return None
            name = match[2] or ""
            if method in ("POST", "PUT"):
                return self._replace(body)
            if not name:
                return Reply(200, {"items": list(self.services.values())})
            return Reply(200, self.services[name]) if name in self.services else _not_found(name)

    def _replace(self, body: dict[str, Any]) -> Reply:
        service = copy.deepcopy(body)
        name = service["metadata"]["name"]
        before = self.services.get(name)
        if before and service["metadata"].get("resourceVersion") != before["metadata"]["resourceVersion"]:
            return Reply(
                409, {"error": {"code": 409, "status": "ABORTED", "message": "the service has changed"}}
            )
        self._version += 1
        service["metadata"] |= {
            "generation": self._version, "resourceVersion": f"v{self._version}", "uid": f"uid-{name}",
            "namespace": _NUMBER, "creationTimestamp": _TIME,
            "selfLink": f"/apis/serving.knative.dev/v1/namespaces/{_NUMBER}/services/{name}",
        }  # fmt: skip
        service["status"] = copy.deepcopy(before["status"]) if before else {"traffic": []}
        service["status"] |= {
            "observedGeneration": self._version,
            "url": self.url(name),
            "address": {"url": self.url(name)},
        }
        self.services[name] = service
        template = service["spec"]["template"]
        if before is None or before["spec"]["template"] != template:
            self._start(service, template)
        else:
            self._settle(service)
        return Reply(200, copy.deepcopy(service))

    def _start(self, service: dict[str, Any], template: dict[str, Any]) -> None:
        name = (
            template.get("metadata", {}).get("name")
            or f"{service['metadata']['name']}-{self._version:05d}-abc"
        )
        if name in self.revisions:
            raise ValueError(f"the revision {name} is there already, with another template")
        revision = Revision(name, copy.deepcopy(template))
        self.revisions[name] = revision
        service["status"] |= {"latestCreatedRevisionName": name, "conditions": _conditions("Unknown", "")}
        threading.Thread(
            target=self._bring_up, args=(service["metadata"]["name"], revision), daemon=True
        ).start()

    def _bring_up(self, service_name: str, revision: Revision) -> None:
        try:
            self._run_container(service_name, revision)
            message = self._probe(revision)
        except Exception as error:  # noqa: BLE001 - it is the revision's message
            message = f"the container could not be started: {error}"
        with self._lock:
            revision.ready, revision.message = not message, message
            service = self.services[service_name]
            if service["status"]["latestCreatedRevisionName"] != revision.name:
                return
            if message:
                service["status"]["conditions"] = _conditions(
                    "False", f"Revision '{revision.name}' is not ready: {message}"
                )
                return
            service["status"]["latestReadyRevisionName"] = revision.name
            self._settle(service)

    def _settle(self, service: dict[str, Any]) -> None:
        """Bring the status' traffic to what the specification says, and end containers that nobody can reach."""
        name, status = service["metadata"]["name"], service["status"]
        traffic = []
        for target in service["spec"].get("traffic", []):
            revision = target.get("revisionName") or status.get("latestReadyRevisionName", "")
            shown = {**target, "revisionName": revision}
            if target.get("tag"):
                shown["url"] = self.url(name, target["tag"])
            traffic.append(shown)
        status["traffic"] = traffic
        status["conditions"] = _conditions("True", "")

    def url(self, service: str, tag: str = "") -> str:
        return f"http://{tag + '---' if tag else ''}{service}-{_NUMBER}.us-central1.run.app"

    def _shown(self, revision: Revision) -> dict[str, Any]:
        state = {True: "True", False: "False", None: "Unknown"}[revision.ready]
        return {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Revision",
            "metadata": {
                **revision.template.get("metadata", {}), "name": revision.name, "namespace": _NUMBER,
                "creationTimestamp": _TIME,
            },
            "spec": revision.template["spec"],
            "status": {
                "imageDigest": revision.image,
                "conditions": _conditions(state, revision.message)[:1],
            },
        }  # fmt: skip

    # The containers

    def _run_container(self, service_name: str, revision: Revision) -> None:
        container = revision.template["spec"]["containers"][0]
        port = container.get("ports", [{}])[0].get("containerPort", 8080)
        variables = {
            "PORT": port,
            "K_SERVICE": service_name,
            "K_REVISION": revision.name,
            "K_CONFIGURATION": service_name,
        }
        for item in container.get("env", []):
            reference = item.get("valueFrom", {}).get("secretKeyRef")
            variables[item["name"]] = (
                self.secret(reference["name"], reference["key"]) if reference else item.get("value", "")
            )
        revision.container = f"{self.prefix}-{hashlib.sha256(revision.name.encode()).hexdigest()[:12]}"
        limits = container["resources"]["limits"]
        memory = limits["memory"].lower().removesuffix("i")
        command = [
            *("docker", "run", "--detach", "--name", revision.container, "--publish", f"127.0.0.1::{port}"),
            *(
                "--read-only",
                "--tmpfs",
                "/tmp:rw,mode=1777",
                "--cap-drop",
                "ALL",
                "--security-opt",
                "no-new-privileges",
            ),
            *("--memory", memory, "--memory-swap", memory, "--cpus", str(max(1, int(float(limits["cpu"]))))),
        ]
        for name, value in variables.items():
            command += ["--env", f"{name}={value}"]
        _docker(*command[1:], container["image"])
        address = _docker("port", revision.container, f"{port}/tcp").splitlines()[0]
        revision.port = int(address.rpartition(":")[2])

    def _probe(self, revision: Revision) -> str:
        """Ask as the startup probe says; return why the revision is not ready, or nothing."""
        probe = revision.template["spec"]["containers"][0]["startupProbe"]
        deadline = time.monotonic() + probe["failureThreshold"] * probe.get("periodSeconds", 10)
        while time.monotonic() < deadline:
            if _docker("inspect", "--format={{.State.Running}}", revision.container) != "true":
                state = _docker(
                    "inspect", "--format={{.State.ExitCode}} {{.State.OOMKilled}}", revision.container
                )
                code, _, killed = state.partition(" ")
                why = "it needed more memory than its limit" if killed == "true" else f"exit code {code}"
                return f"The user-provided container failed its startup probe ({why})."
            try:
                address = f"http://127.0.0.1:{revision.port}{probe['httpGet']['path']}"
                with urllib.request.urlopen(address, timeout=5):
                    return ""
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
        return "The user-provided container failed its startup probe in time."

    def visit(self, method: str, host: str, target: str, headers: Any, body: bytes) -> Reply:
        """Answer a visitor of a service's address, or of a tagged one: private, then through to the container."""
        tag, _, rest = host.rpartition("---")
        service = rest.partition(f"-{_NUMBER}.")[0]
        if service not in self.services:
            return Reply(404, {"error": "no such service"})
        if headers.get("Authorization") != f"Bearer identity-for:{self.url(service)}":
            return Reply(403, {"error": "no identity token for this service"})
        if disturbed := self.disturb(host, target):
            return disturbed
        with self._lock:
            traffic = self.services[service]["status"]["traffic"]
            wanted = [
                item for item in traffic if (item.get("tag") == tag if tag else item.get("percent") == 100)
            ]
        if not wanted:
            return Reply(404, {"error": "no revision"})
        port = self.revisions[wanted[0]["revisionName"]].port
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{target}", data=body or None, method=method,
            headers={"Content-Type": headers.get("Content-Type", "application/json")},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Reply(response.status, response.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read())

    def copy(self, service: str, name: str, variables: dict[str, str]) -> None:
        """Make another service of what has traffic in this one, with some variables changed; nothing is started."""
        with self._lock:
            source = self.serving(service)
            revision = copy.deepcopy(source)
            revision.name = revision.template["metadata"]["name"] = source.name.replace(service, name, 1)
            for item in revision.template["spec"]["containers"][0]["env"]:
                if item["name"] in variables:
                    item["value"] = variables[item["name"]]
            self.revisions[revision.name] = revision
            made = copy.deepcopy(self.services[service])
            made["metadata"] |= {
                "name": name,
                "selfLink": made["metadata"]["selfLink"].replace(service, name),
            }
            made["spec"] = {
                "template": copy.deepcopy(revision.template),
                "traffic": [{"revisionName": revision.name, "percent": 100}],
            }
            made["status"] |= {
                "url": self.url(name), "address": {"url": self.url(name)},
                "latestReadyRevisionName": revision.name, "latestCreatedRevisionName": revision.name,
            }  # fmt: skip
            self.services[name] = made
            self._settle(made)

    def traffic(self, service: str) -> dict[str, int]:
        """Percent by revision, as the service's specification has it."""
        return {
            item["revisionName"]: item["percent"]
            for item in self.services[service]["status"]["traffic"]
            if item.get("percent")
        }

    def serving(self, service: str) -> Revision:
        """The one revision with all the traffic."""
        ((name, percent),) = self.traffic(service).items()
        assert percent == 100
        return self.revisions[name]

    def stop(self, keep: tuple[str, ...] = ()) -> None:
        """Remove the containers, but for those of the revisions named."""
        for revision in self.revisions.values():
            if revision.container and revision.name not in keep:
                subprocess.run(
                    ["docker", "rm", "--force", revision.container], capture_output=True, check=False
                )


def _conditions(status: str, message: str) -> list[dict[str, Any]]:
    return [
        {"type": kind, "status": status, "message": message, "lastTransitionTime": _TIME}
        for kind in ("Ready", "ConfigurationsReady", "RoutesReady")
    ]


def _not_found(name: str) -> Reply:
    return Reply(
        404, {"error": {"code": 404, "status": "NOT_FOUND", "message": f"Resource '{name}' was not found"}}
    )


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(json.dumps(done.stderr.strip()[-300:]))
    return done.stdout.strip()
