"""Whether the process lives, whether it answers predictions, and all that is known about it."""

from fastapi import APIRouter, Request, Response

from app.api.service import service_of
from app.models.health import Health, Live, Ready

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> Live:
    """Answer 200 as long as the process answers at all."""
    return Live()


@router.get(
    "/health/ready", responses={503: {"model": Ready, "description": "Not ready; `reason` says why."}}
)
async def ready(request: Request, response: Response) -> Ready:
    """Answer 200 only when the right model has been loaded and checked."""
    reply = service_of(request).ready()
    response.status_code = 200 if reply.status == "ready" else 503
    return reply


@router.get(
    "/api/v1/health", responses={503: {"model": Health, "description": "Not ready; `reason` says why."}}
)
async def health(request: Request, response: Response) -> Health:
    """Answer with everything that is known, under the status of the readiness."""
    reply = service_of(request).health()
    response.status_code = 200 if reply.status == "ready" else 503
    return reply
