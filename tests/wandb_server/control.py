"""What people and tests in other processes use: a page, the state as JSON, faults and actions by POST."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .actions import ACTIONS
from .faults import fault_from_json
from .page import render
from .state import StateError

if TYPE_CHECKING:
    from .http import Backend


def control_routes(backend: "Backend") -> list[Route]:
    """`/`, `/__state`, `/__faults` and `/__actions`, without a key: the server is for loopback only."""

    async def page(_: Request) -> Response:
        with backend.store.lock:
            return HTMLResponse(render(backend.store))

    async def state(_: Request) -> Response:
        with backend.store.lock:
            return Response(json.dumps(describe(backend)), media_type="application/json")

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            backend.faults.clear(request.query_params.get("kind"))
        elif request.method == "POST":
            given = await request.json()
            wanted = [fault_from_json(values) for values in (given if isinstance(given, list) else [given])]
            for fault in wanted:
                backend.faults.add(fault)
        return JSONResponse(backend.faults.describe())

    async def actions(request: Request) -> Response:
        given = await request.json()
        if (action := ACTIONS.get(given.get("action"))) is None:
            return JSONResponse({"error": f"unknown action; known are {sorted(ACTIONS)}"}, 400)
        with backend.store.lock:
            action(backend.store, **given.get("arguments", {}))
        return JSONResponse({"done": given["action"]})

    return [
        Route("/", page),
        Route("/__state", state),
        Route("/__faults", _told(faults), methods=["GET", "POST", "DELETE"]),
        Route("/__actions", _told(actions), methods=["POST"]),
    ]


def describe(backend: "Backend") -> dict[str, Any]:
    """The state as JSON: runs with parsed rows, artifacts, collections, faults, unknown fields, calls."""
    store = backend.store
    return {
        "runs": [
            asdict(run) | {"path": run.path, "rows": run.rows, "config": run.config_values}
            for run in store.runs.values()
        ],
        "artifacts": [asdict(artifact) for artifact in store.artifacts.values()],
        "collections": [
            asdict(collection) | {"path": collection.path} for collection in store.collections.values()
        ],
        "faults": backend.faults.describe(),
        "unknown_fields": dict(store.unknown_fields),
        "calls": [asdict(call) for call in backend.calls],
    }


def _told(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            response: Response = await endpoint(request)
        except (StateError, TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return response

    return answer
