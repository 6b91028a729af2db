"""The parts of the service that routes talk to."""

import importlib.metadata
import platform
import time
from dataclasses import dataclass, field
from functools import cache
from typing import cast

from starlette.requests import Request

from app import __version__
from app.core.config import Settings
from app.core.errors import NotReadyError
from app.core.events import Lifecycle
from app.models.health import Check, Health, Limits, ModelDescription, ModelIdentity, Ready, Refresh
from app.services.artifact import ModelFiles
from app.services.feedback import Feedback
from app.services.inference import Inference
from app.services.inference_log import InferenceLog
from app.services.model_server import ModelServer
from app.services.monitoring import Monitor
from app.services.predictor import Predictor
from app.services.running_model import Lease

_LIBRARIES = (
    "fastapi", "joblib", "keras", "numpy", "onnxruntime", "pydantic", "scikit-learn", "starlette", "tensorflow",
    "tf-keras", "tokenizers", "transformers", "uvicorn", "wandb",
)  # fmt: skip


@dataclass
class Service:
    """One instance of the service: what it is made of, and what it tells about itself."""

    settings: Settings
    server: ModelServer
    log: InferenceLog
    inference: Inference
    monitor: Monitor
    feedback: Feedback
    lifecycle: Lifecycle
    started: float = field(default_factory=time.monotonic)

    def loaded(self) -> tuple[ModelFiles, Predictor]:
        """Return the model that answers now.

        Raises:
            NotReadyError: there is none, or the service is stopping.
        """
        if self.lifecycle.stopping:
            raise NotReadyError("the service is stopping")
        if self.server.state != "ready" or self.server.files is None or self.server.predictor is None:
            raise NotReadyError(self.server.reason)
        return self.server.files, self.server.predictor

    def lease(self) -> Lease:
        """Give the model that answers one request, from its validation to its reply.

        Raises:
            NotReadyError: there is none, or the service is stopping.
        """
        self.loaded()
        return self.server.lease()

    def serving(self) -> tuple[tuple[str, str, str] | None, bool, int, int]:
        """Return what the monitor asks now and then: model, readiness, open requests, waiting predictions."""
        files = self.server.files
        model = (files.model.name, files.model.version, files.model.digest) if files else None
        ready = self.server.state == "ready" and not self.lifecycle.stopping
        return model, ready, self.lifecycle.open_requests, self.server.waiting

    def ready(self) -> Ready:
        """Return whether predictions are answered, why not, and by which model."""
        if self.lifecycle.stopping:
            return Ready(status="stopping", reason="the service is stopping", model=self._identity())
        if self.server.state == "ready" and self.lifecycle.waits_for_others:
            return Ready(status="starting", reason="other workers are still loading", model=self._identity())
        return Ready(status=self.server.state, reason=self.server.reason or None, model=self._identity())

    def health(self) -> Health:
        """Return everything that is known about this instance."""
        return Health(
            **self.ready().model_dump(),
            check=self._check(),
            refresh=Refresh.model_validate(self.server.refresh, from_attributes=True)
            if self.server.refresh
            else None,
            waiting=self.server.waiting,
            open_requests=self.lifecycle.open_requests,
            uptime_seconds=round(time.monotonic() - self.started, 3),
            start_seconds={part: round(seconds, 3) for part, seconds in self.server.timings.items()},
            inference_log=self.log.health(),
            revision=self.settings.k_revision,
            versions=library_versions(),
        )

    def model(self) -> ModelDescription:
        """Describe the model that answers now.

        Raises:
            NotReadyError: there is none.
        """
        files, predictor = self.loaded()
        manifest = files.manifest
        return ModelDescription(
            name=files.model.name,
            version=files.model.version,
            digest=files.model.digest,
            source=files.source,
            artifact=files.artifact,
            labels=list(predictor.labels),
            task=manifest.task,
            loader=f"{type(predictor).__module__}:{type(predictor).__qualname__}",
            preprocessing=manifest.preprocessing.model_dump(),
            training=manifest.training,
            metrics=manifest.metrics,
            check=self._check(),
            limits=Limits(
                body_bytes=self.settings.max_body_bytes,
                texts=self.settings.max_texts,
                text_characters=self.settings.max_text_characters,
                waiting=self.settings.max_waiting,
                waiting_characters=self.settings.max_waiting_characters,
                timeout_seconds=self.settings.request_timeout_seconds,
            ),
            predictor=predictor.describe(),
        )

    def _identity(self) -> ModelIdentity | None:
        files = self.server.files
        if files is None:
            return None
        return ModelIdentity(name=files.model.name, version=files.model.version, digest=files.model.digest)

    def _check(self) -> Check | None:
        check, files = self.server.check, self.server.files
        if check is None or files is None:
            return None
        return Check(
            kind=check.kind,
            examples=check.examples,
            largest_difference=check.largest_difference,
            warnings=list(files.warnings),
        )


def service_of(request: Request) -> Service:
    """Return the service that the app of `request` was made for."""
    return cast("Service", request.app.state.service)


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of this service, Python and the libraries that are installed; none is imported."""
    versions = {"marquee": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
