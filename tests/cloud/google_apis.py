"""A stand-in for Google's APIs: records every call, keeps what it is given, and runs Cloud Run's revisions with Docker.

It answers what the real gcloud and the build's own code need to go on. What Google would refuse for want of a right
or a quota it cannot know.
"""

import contextlib
import json
import re
import socketserver
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cloud.cloud_run import CloudRunStandIn, Reply

PROJECT, NUMBER = "marquee-test", "123456789012"
APIS = (
    "run", "cloudbuild", "cloudscheduler", "artifactregistry", "cloudresourcemanager", "serviceusage", "iam",
    "secretmanager", "storage",
)  # fmt: skip
_FIXED = {"id", "resourceName", "createTime"}
"""What a change cannot change."""
_TIME = "2026-01-01T00:00:00.000000Z"


@dataclass(frozen=True)
class Call:
    """One request: the API (the host's first part, without a region), method, path with query, body."""

    api: str
    method: str
    path: str
    body: Any


@dataclass
class GoogleApis:
    """Listens on a Unix socket, as a proxy would; see `tests.cloud.offline`.

    Attributes:
        socket: the file to connect to.
        secrets: values by ``projects/P/secrets/S/versions/N``.
        cloud_run: the services.
        calls: what was asked, in order.
        resources: what was made, by full name: triggers, jobs, repositories, accounts, buckets.
        policies: IAM bindings by resource: role to members.
    """

    socket: Path
    cloud_run: CloudRunStandIn
    secrets: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: socketserver.ThreadingMixIn | None = None

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"apis": self})
        self._server = _UnixServer(str(self.socket), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cloud_run.stop()

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for a gcloud that knows no other place than this."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text("loopback-token", "utf-8")
        return {
            "CLOUDSDK_CONFIG": str(folder / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "true",
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(folder / "token"),
            **{
                f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"http://{api}.googleapis.test/"
                for api in APIS
            },
        }

    def clear(self) -> None:
        """Forget the calls; what was made stays."""
        self.calls.clear()

    def changes(self, api: str) -> list[Call]:
        """The calls to an API that changed something."""
        return [call for call in self.calls if call.api == api and call.method != "GET"]

    def answer(self, method: str, host: str, target: str, headers: Any, body: bytes) -> Reply:
        if host.endswith(".run.app"):
            return self.cloud_run.visit(method, host, target, headers, body)
        if host.startswith("metadata."):
            return _identity(target, headers)
        if not host.endswith(".googleapis.test"):
            self.strangers.append(host)
            return Reply(502, {"error": f"{host} is not on this machine"})
        api = host.removesuffix(".googleapis.test").rsplit("-", 1)[-1]
        content: Any = None
        if body:
            with contextlib.suppress(ValueError):
                content = json.loads(body)
        with self._lock:
            self.calls.append(Call(api, method, target, content))
            split = urllib.parse.urlsplit(target)
            query = dict(urllib.parse.parse_qsl(split.query))
            if api == "run":
                found = self.cloud_run.answer(method, split.path, content)
                if found:
                    return found
            return self._generic(api, method, split.path.strip("/"), query, content)

    def _generic(self, api: str, method: str, path: str, query: dict[str, str], body: Any) -> Reply:
        name, _, verb = path.partition(":")
        handler: dict[str, Callable[[], Reply]] = {
            "getIamPolicy": lambda: Reply(200, self._policy(api, name)),
            "setIamPolicy": lambda: self._set_policy(api, name, body),
            "batchEnable": lambda: self._operation(f"{api}/{name}", {}),
            "addVersion": lambda: Reply(
                200, {"name": f"{name.partition('/')[2]}/versions/1", "state": "ENABLED"}
            ),
        }
        if verb in handler:
            return handler[verb]()
        if name.endswith("/iam"):
            return (
                Reply(200, self._policy(api, name))
                if method == "GET"
                else self._set_policy(api, name, {"policy": body})
            )
        if re.fullmatch(r"v\d/projects/[^/]+", name):
            return Reply(
                200,
                {"projectId": PROJECT, "projectNumber": NUMBER, "name": PROJECT, "lifecycleState": "ACTIVE"},
            )
        if method == "POST":
            return self._create(api, name, query, body or {})
        key = f"{api}/{name}"
        if method in ("PATCH", "PUT") and key in self.resources:
            self.resources[key] |= {name: value for name, value in body.items() if name not in _FIXED}
            return Reply(200, self.resources[key])
        if key in self.resources:
            return Reply(200, self.resources[key])
        children = [value for found, value in self.resources.items() if found.rpartition("/")[0] == key]
        kind = {"serviceAccounts": "accounts", "b": "items"}.get(
            name.rpartition("/")[2], name.rpartition("/")[2]
        )
        if name.rpartition("/")[2] in {"triggers", "jobs", "repositories", "secrets", "serviceAccounts", "b"}:
            return Reply(200, {kind: children} if children else {})
        by_name = [value for found, value in self.resources.items()
                   if found.rpartition("/")[0] == key.rpartition("/")[0]
                   and value.get("name", "").rpartition("/")[2] == key.rpartition("/")[2]]  # fmt: skip
        if by_name:
            if method == "PATCH":
                by_name[0].update({key: value for key, value in body.items() if key not in _FIXED})
            return Reply(200, by_name[0])
        return Reply(404, {"error": {"code": 404, "status": "NOT_FOUND", "message": f"{name} was not found"}})

    def _create(self, api: str, name: str, query: dict[str, str], body: dict[str, Any]) -> Reply:
        parent, _, kind = name.rpartition("/")
        plain = parent.partition("/")[2]
        if kind == "triggers":
            identity = f"id-of-{body['name']}"
            made = {
                **body,
                "id": identity,
                "createTime": _TIME,
                "resourceName": f"{plain}/triggers/{identity}",
            }
            self.resources[f"{api}/{name}/{identity}"] = made
            return Reply(200, made)
        if kind == "repositories":
            made = {**body, "name": f"{plain}/repositories/{query['repositoryId']}"}
            self.resources[f"{api}/{name}/{query['repositoryId']}"] = made
            return self._operation(f"{api}/{parent}", made)
        if kind == "secrets":
            made = {**body, "name": f"{plain}/secrets/{query['secretId']}"}
            self.resources[f"{api}/{name}/{query['secretId']}"] = made
            return Reply(200, made)
        if kind == "serviceAccounts":
            address = f"{body['accountId']}@{PROJECT}.iam.gserviceaccount.com"
            made = {**body["serviceAccount"], "email": address, "name": f"{plain}/serviceAccounts/{address}"}
            self.resources[f"{api}/{name}/{address}"] = made
            return Reply(200, made)
        if kind == "jobs":
            self.resources[f"{api}/v1/{body['name']}"] = body
            return Reply(200, body)
        if kind == "b":
            made = {**body, "kind": "storage#bucket", "id": body["name"], "metageneration": "1"}
            self.resources[f"{api}/{name}/{body['name']}"] = made
            return Reply(200, made)
        return Reply(
            404, {"error": {"code": 404, "status": "NOT_FOUND", "message": f"nothing is made at {name}"}}
        )

    def _operation(self, parent: str, response: dict[str, Any]) -> Reply:
        name = f"{parent.partition('/')[2].partition('/')[2]}/operations/done"
        made = {"name": name, "done": True, "response": response}
        self.resources[f"{parent}/operations/done"] = made
        return Reply(200, made)

    def _policy(self, api: str, name: str) -> dict[str, Any]:
        held = self.policies.get(_resource(api, name), {})
        return {
            "version": 1,
            "etag": "BwXY",
            "bindings": [{"role": role, "members": who} for role, who in held.items()],
        }

    def _set_policy(self, api: str, name: str, body: dict[str, Any]) -> Reply:
        bindings = body["policy"].get("bindings", [])
        self.policies[_resource(api, name)] = {item["role"]: item["members"] for item in bindings}
        return Reply(200, self._policy(api, name))


def _resource(api: str, name: str) -> str:
    return f"{api}/{name.removesuffix('/iam').partition('/')[2]}"


def _identity(target: str, headers: Any) -> Reply:
    split = urllib.parse.urlsplit(target)
    if headers.get("Metadata-Flavor") != "Google" or not split.path.endswith("/default/identity"):
        return Reply(403, {"error": "no metadata without its header"})
    audience = dict(urllib.parse.parse_qsl(split.query))["audience"]
    return Reply(200, f"identity-for:{audience}".encode(), "text/plain")


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    apis: GoogleApis
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        split = urllib.parse.urlsplit(self.path)
        host = split.hostname or self.headers.get("Host", "").partition(":")[0]
        target = split.path + (f"?{split.query}" if split.query else "")
        try:
            reply = self.apis.answer(self.command, host, target, self.headers, body)
        except Exception as error:  # noqa: BLE001 - gcloud shows it, and so does the test
            reply = Reply(500, {"error": {"code": 500, "message": f"stand-in: {error!r}"}})
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def do_CONNECT(self) -> None:
        self.apis.strangers.append(self.path)
        self.send_error(502)

    def log_message(self, *arguments: Any) -> None:
        pass

    def address_string(self) -> str:
        return "socket"
