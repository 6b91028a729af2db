"""Which model is served, and what is where."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app import __version__
from app.api.documentation import problems
from app.api.routes import pages
from app.api.service import service_of
from app.models.health import Index, ModelDescription

router = APIRouter(tags=["model"])


@router.get("/api/v1/model", responses=problems(503))
async def model(request: Request) -> ModelDescription:
    """Describe the model that answers now: version, digest, labels, limits."""
    return service_of(request).model()


@router.get("/", response_model=Index)
async def index(request: Request) -> Index | Response:
    """Say what is where: as JSON, and as a page to whoever asks for HTML."""
    root = request.scope.get("root_path", "")
    with_pages = service_of(request).settings.pages
    if with_pages and "text/html" in request.headers.get("accept", ""):
        return pages.page("index", request)
    paths = {
        "predict": "/predict",
        "model": "/api/v1/model",
        "health": "/api/v1/health",
        "live": "/health/live",
        "ready": "/health/ready",
        "metrics": "/metrics",
    }
    if with_pages:
        paths["monitor"] = "/monitor"
    if service_of(request).settings.docs:
        paths["docs"] = "/docs"
    return Index(
        name="marquee", version=__version__, links={name: root + path for name, path in paths.items()}
    )
