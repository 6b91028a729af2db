"""The pages for people: one to try texts, and the monitor with what it shows as JSON. Nothing is built or loaded."""

import html
from asyncio import to_thread
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.service import service_of

router = APIRouter(tags=["monitoring"])

WEB = Path(__file__).resolve().parents[2] / "web"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}


def page(name: str, request: Request) -> Response:
    """Return a page of the folder ``web``, its links made for the path under which a proxy serves the app."""
    root = html.escape(request.scope.get("root_path", ""), quote=True)
    return Response(
        _read(f"{name}.html").replace("{root}", root), media_type="text/html", headers=_PAGE_HEADERS
    )


@router.get("/monitor", include_in_schema=False)
async def monitor(request: Request) -> Response:
    """Show the last hours, drift, the last predictions, the model and the inference log."""
    return page("monitor", request)


@router.get("/api/v1/monitor")
async def monitor_report(request: Request) -> dict[str, Any]:
    """Answer with what the page ``/monitor`` shows: this worker's windows, drift, accuracy, last predictions."""
    service = service_of(request)
    report = await to_thread(service.monitor.report)
    health = service.health()
    return {
        **report,
        "model": health.model.model_dump() if health.model else None,
        "status": health.status,
        "reason": health.reason,
        "uptime_seconds": health.uptime_seconds,
        "log": health.inference_log,
        "log_text": service.settings.log_text,
        "feedback_key_shared": service.settings.feedback_key is not None,
    }


@router.get("/web/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """Answer with a style sheet, script or picture of the pages."""
    path = WEB / name
    if path.suffix not in _TYPES or name not in _names():
        raise HTTPException(404)
    return Response(_read(name), media_type=_TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in WEB.iterdir())


@cache
def _read(name: str) -> str:
    return (WEB / name).read_text("utf-8")
