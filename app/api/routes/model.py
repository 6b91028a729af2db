"""Which model is served, and what is where."""

from fastapi import APIRouter, Request

from app import __version__
from app.api.documentation import problems
from app.api.service import service_of
from app.models.health import Index, ModelDescription

router = APIRouter(tags=["model"])


@router.get("/api/v1/model", responses=problems(503))
async def model(request: Request) -> ModelDescription:
    """Describe the model that answers now: version, digest, labels, limits."""
    return service_of(request).model()


@router.get("/")
async def index(request: Request) -> Index:
    """Say what is where."""
    root = request.scope.get("root_path", "")
    paths = {
        "predict": "/predict",
        "model": "/api/v1/model",
        "health": "/api/v1/health",
        "live": "/health/live",
        "ready": "/health/ready",
    }
    if service_of(request).settings.docs:
        paths["docs"] = "/docs"
    return Index(
        name="marquee", version=__version__, links={name: root + path for name, path in paths.items()}
    )
