"""``GET /metrics``: everything that is counted, in Prometheus' text form."""

from asyncio import to_thread

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.service import service_of

router = APIRouter(tags=["monitoring"])
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "docs/monitoring.md lists them."}},
)
async def metrics(request: Request) -> Response:
    """Answer with all metrics; those of all workers where there are several."""
    return Response(await to_thread(service_of(request).monitor.metrics), media_type=CONTENT_TYPE)
