"""The app, put together. Run it with ``python -m app``, or any ASGI server and the factory `create_app`."""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware import Middleware

from app import __version__
from app.api import errors
from app.api.access import ApiKeys, CrossOrigin
from app.api.application import Application
from app.api.middleware import Failsafe, RequestContext
from app.api.request_metrics import RequestMetrics
from app.api.routes import docs, feedback, health, metrics, model, pages, predict
from app.api.service import Service
from app.core.config import Settings, load_settings
from app.core.events import Lifecycle
from app.core.logging import configure_logging
from app.core.values import parse_keys, parse_origins
from app.services.feedback import Feedback, PredictionIds
from app.services.inference import Inference
from app.services.inference_log import InferenceLog
from app.services.model_server import ModelServer
from app.services.monitoring import Monitor


def create_app(
    settings: Settings | None = None,
    *,
    on_failure: Callable[[Exception], None] | None = None,
    server: ModelServer | None = None,
) -> FastAPI:
    """Put the app together; nothing is loaded before its start-up.

    Args:
        settings: the configuration. Left out, as by ``uvicorn --factory app.main:create_app``, it is read from the
            environment, and logging is set up.
        on_failure: given, the server answers while the model is being loaded, and this is called if it can't be.
            Else start-up waits for the model, and raises.
        server: the model server of the same settings, if its model is being loaded already.

    Raises:
        ConfigurationError: the settings cannot be read.
    """
    if settings is None:
        settings = load_settings()
        configure_logging(settings)
    server = server or ModelServer(settings)
    log = InferenceLog(settings)
    monitor = Monitor(settings, log)
    ids = PredictionIds(settings)
    inference = Inference(settings, server, log, monitor, ids)
    server.on_swap.append(inference.start)
    lifecycle = Lifecycle(server, inference, settings.shutdown_seconds, on_failure)
    app = Application(
        title="Marquee",
        version=__version__,
        description="Serves one model, and logs every inference.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,
        lifespan=lifecycle.lifespan,
        middleware=[
            Middleware(RequestContext, lifecycle, settings.root_path),
            Middleware(RequestMetrics, monitor),
            *_access(settings),
            Middleware(Failsafe, lifecycle, settings.max_body_bytes, settings.request_timeout_seconds),
        ],
    )
    service = Service(settings, server, log, inference, monitor, Feedback(ids, log, monitor), lifecycle)
    monitor.serving = service.serving
    app.state.service = service
    errors.install(app)
    routers = [predict.router, feedback.router, health.router, model.router, metrics.router]
    if settings.predict_by_get:
        routers.append(predict.by_get)
    if settings.docs:
        routers.append(docs.router)
    if settings.pages:
        routers.append(pages.router)
    for router in routers:
        app.include_router(router)
    app.direct = predict.direct
    return app


def _access(settings: Settings) -> list[Middleware]:
    parts = []
    if settings.cors_origins is not None:
        parts.append(Middleware(CrossOrigin, parse_origins(settings.cors_origins)))
    if settings.api_keys is not None:
        parts.append(
            Middleware(ApiKeys, parse_keys(settings.api_keys.get_secret_value()), settings.root_path)
        )
    return parts
