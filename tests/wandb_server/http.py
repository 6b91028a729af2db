"""The HTTP side: GraphQL, the file stream, uploads and downloads, each behind the faults that are on."""

import asyncio
import base64
import gzip
import json
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .artifact_views import MANIFEST_NAME
from .control import control_routes
from .faults import Fault, Faults
from .filters import UnknownFilterError
from .graphql import Document
from .schema import roots
from .state import StateError, Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was answered."""

    kind: str
    """A kind of fault, or `other`."""
    name: str
    """The GraphQL operation, the run's path or the file's name."""
    status: int


@dataclass(slots=True)
class Backend:
    """What the routes need: the state, the faults and the key that opens the door."""

    store: Store
    api_key: str
    faults: Faults = field(default_factory=Faults)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=10_000))

    def allows(self, request: Request) -> bool:
        """Whether the request carries the key, as the password of Basic authentication."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            return base64.b64decode(token).decode().partition(":")[2] == self.api_key
        except ValueError:
            return False


def build_app(backend: Backend) -> Starlette:
    """The whole server as an ASGI application."""
    routes = Routes(backend)
    return Starlette(
        routes=[
            *control_routes(backend),
            Route("/graphql", routes.graphql, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", routes.file_stream, methods=["POST"]),
            Route("/storage/{key}/{name:path}", routes.upload, methods=["PUT"]),
            Route("/storage/{key}/{name:path}", routes.download, methods=["GET"]),
            Route(
                "/artifactsV2/{region}/{entity}/{project}/{collection}/{artifact}/{birth}/{digest}/{name:path}",
                routes.artifact_file,
                methods=["GET"],
            ),
            Route("/{path:path}", routes.unknown, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
    )


class Routes:
    """The endpoints that the client uses."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def graphql(self, request: Request) -> Response:
        """All queries and mutations. A refusal by the service is a 200 with `errors`, as W&B does it."""
        body = json.loads(await _body(request))
        document = Document(body["query"], body.get("variables") or {}, body.get("operationName"))
        fault = self._backend.faults.take("graphql", document.name)
        response = await _refusal(fault, request) or self._execute(document, request)
        return self._seen("graphql", document.name, response)

    def _execute(self, document: Document, request: Request) -> Response:
        store = self._backend.store
        if not self._backend.allows(request):
            return _errors("user is not logged in", 401)
        unknown: list[str] = []
        try:
            with store.lock:
                data = document.execute(roots(store, str(request.base_url)), unknown.append)
                store.unknown_fields.update(unknown)
        except StateError as error:
            return _errors(str(error), error.status)
        except UnknownFilterError as error:
            store.unknown_fields[f"{document.name}:filters: {error}"] += 1
            return _errors(str(error), 200)
        except (GraphQLError, KeyError, TypeError, ValueError) as error:
            _log.exception("could not answer %s", document.name)
            store.unknown_fields[f"{document.name}: {error!r}"] += 1
            return _errors(f"could not answer {document.name}: {error!r}", 400)
        return JSONResponse({"data": data})

    async def file_stream(self, request: Request) -> Response:
        """Rows, console output, summary and the end of a run."""
        place = request.path_params
        path = f"{place['entity']}/{place['project']}/{place['run']}"
        body = json.loads(await _body(request))
        fault = self._backend.faults.take("file_stream", path)
        response = await _refusal(fault, request) or self._append(path, body, request)
        return self._seen("file_stream", path, response)

    def _append(self, path: str, body: dict[str, Any], request: Request) -> Response:
        if not self._backend.allows(request):
            return JSONResponse({"error": "user is not logged in"}, 401)
        store = self._backend.store
        with store.lock:
            if (run := store.runs.get(path)) is None:
                return JSONResponse({"error": f"run {path} not found"}, 404)
            store.append_stream(run, body)
            return JSONResponse({"exitcode": None, "limits": {}, "stopped": run.stop_requested})

    async def upload(self, request: Request) -> Response:
        """The bytes of a file or a manifest; no credentials, as with a signed address."""
        name = request.path_params["name"]
        content = await request.body()
        fault = self._backend.faults.take("upload", name)
        response = await _refusal(fault, request)
        if response is None:
            self._backend.store.blobs.write(
                request.path_params["key"], fault.change(content) if fault else content
            )
            response = Response()
        return self._seen("upload", name, response)

    async def download(self, request: Request) -> Response:
        """The bytes of a file or a manifest; no credentials, as with a signed address."""
        return await self._send(request, request.path_params["key"])

    async def artifact_file(self, request: Request) -> Response:
        """A file by its artifact, with the key: where the client turns when a signed address is refused."""
        if not self._backend.allows(request):
            return self._seen("download", request.path_params["name"], _errors("user is not logged in", 401))
        artifact = self._backend.store.artifacts.get(request.path_params["artifact"])
        return await self._send(
            request, artifact.files.get(request.path_params["name"]) if artifact else None
        )

    async def _send(self, request: Request, key: str | None) -> Response:
        name = request.path_params["name"]
        kind = "manifest" if name == MANIFEST_NAME else "download"
        fault = self._backend.faults.take(kind, name)
        response = await _refusal(fault, request)
        blobs = self._backend.store.blobs
        if response is None and (key is None or not blobs.exists(key)):
            response = _errors("not found", 404)
        elif response is None and fault and fault.changes_bytes:
            response = _SpoiltResponse(fault.change(blobs.read(str(key))), fault, request)
        elif response is None:
            response = FileResponse(blobs.path(str(key)), media_type="application/octet-stream")
        return self._seen(kind, name, response)

    async def unknown(self, request: Request) -> Response:
        """Anything else, such as the client's telemetry."""
        return self._seen("other", request.url.path, JSONResponse({"error": "not found"}, 404))

    def _seen(self, kind: str, name: str, response: Response) -> Response:
        self._backend.calls.append(Call(kind, name, response.status_code))
        return response


class _SpoiltResponse(Response):
    """A download that ends or stops half way, under the Content-Length of the whole."""

    def __init__(self, content: bytes, fault: Fault, request: Request) -> None:
        super().__init__(content, media_type="application/octet-stream")
        self._fault = fault
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (self._fault.cut or self._fault.stall):
            await super().__call__(scope, receive, send)
            return
        half = len(self.body) // 2
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[:half], "more_body": True})
        if self._fault.stall:
            await _until_cleared(self._fault, self._request)
            await send({"type": "http.response.body", "body": self.body[half:]})
        # Returning with more_body unanswered makes the server close the connection, which is the cut.


async def _body(request: Request) -> bytes:
    content = await request.body()
    return gzip.decompress(content) if request.headers.get("content-encoding") == "gzip" else content


async def _refusal(fault: Fault | None, request: Request) -> Response | None:
    """Live through a fault's delay and hang, and give its error answer if it has one."""
    if fault is None:
        return None
    await asyncio.sleep(fault.delay)
    if fault.hang and not await _until_cleared(fault, request):
        return _errors("the client is gone", 499)
    return _errors(fault.text(), fault.status) if fault.status else None


async def _until_cleared(fault: Fault, request: Request) -> bool:
    """Wait; False when the client left before the fault was cleared."""
    # Faults are cleared from other threads, so this looks rather than waits for an event of this loop.
    while not fault.cleared:
        if await request.is_disconnected():
            return False
        await asyncio.sleep(0.02)
    return True


def _errors(message: str, status: int) -> Response:
    return JSONResponse({"errors": [{"message": message}], "data": None, "error": message}, status)
