"""The one place that knows the current model: obtain, load, check, predict, stop."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

from loguru import logger

from app.core.config import Settings
from app.core.errors import DeadlineError, NotReadyError, StartupError
from app.services.artifact import ModelFiles
from app.services.batching import Batcher, Served
from app.services.golden import ModelCheck, check_model
from app.services.predictor import Predictor, load_predictor
from app.services.registry import obtain_model

__all__ = ["ModelServer", "Served"]

State = Literal["starting", "ready", "failed", "stopping"]


class ModelServer:
    """Holds the model and says whether it may be asked.

    Attributes:
        state: `ready` only after the right model has answered its golden examples.
        reason: why it is not ready, in words; empty when it is.
        files: the verified files, once they are there.
        predictor: the loaded model, once it is.
        check: how the model was checked.
        timings: seconds that the parts of the start took.
    """

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; nothing is loaded yet."""
        self._settings = settings
        self._batcher: Batcher | None = None
        self._cancelled = threading.Event()
        self.state: State = "starting"
        self.reason = "the model is not loaded yet"
        self.files: ModelFiles | None = None
        self.predictor: Predictor | None = None
        self.check: ModelCheck | None = None
        self.timings: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """Items in line or being predicted."""
        return self._batcher.waiting if self._batcher else 0

    async def start(self) -> None:
        """Obtain, load and check the model.

        Raises:
            StartupError: it cannot be served; the state is `failed` and `reason` says why.
        """
        try:
            await asyncio.to_thread(self._load)
        except StartupError as error:
            self.state, self.reason = "failed", str(error)
            raise
        if self.state == "starting":
            self.state, self.reason = "ready", ""

    async def predict(self, items: Sequence[Any]) -> list[Served]:
        """Answer the items of one request, in order.

        Raises:
            NotReadyError: no model is loaded, or the service is stopping.
            DeadlineError: it took longer than the settings allow; the work is dropped.
            RequestError: what the model refused or failed at; nothing of the request is answered.
        """
        if self.state != "ready" or self._batcher is None:
            raise NotReadyError(self.reason or "the service is stopping")
        try:
            return await asyncio.wait_for(self._batcher.run(items), self._settings.request_timeout_seconds)
        except TimeoutError:
            raise DeadlineError(
                f"no answer within {self._settings.request_timeout_seconds:g} s: "
                "send fewer or shorter inputs, or try later"
            ) from None

    async def stop(self, timeout: float) -> bool:
        """Answer what is in line, take nothing new, free the model; return whether all were answered."""
        self.state, self.reason = "stopping", "the service is stopping"
        self._cancelled.set()
        answered = True
        if self._batcher is not None:
            answered = await asyncio.to_thread(self._batcher.stop, timeout)
        if self.predictor is not None and answered:
            self.predictor.close()
        return answered

    def _load(self) -> None:
        started = time.perf_counter()
        self.reason = "the model's files are being fetched"
        self.files = obtain_model(self._settings, self._cancelled)
        fetched = time.perf_counter()
        self.reason = f"the model {self.files.model.name}:{self.files.model.version} is being loaded"
        predictor = load_predictor(self.files, self._settings)
        loaded = time.perf_counter()
        self.reason = "the model is being checked"
        self.check = check_model(predictor, self.files)
        checked = time.perf_counter()
        self.timings = {"obtain": fetched - started, "load": loaded - fetched, "check": checked - loaded}
        self.predictor = predictor
        self._batcher = Batcher(predictor, self._settings.max_waiting)
        logger.info(
            "serving {}:{} (digest {}), {}; obtained in {:.2f} s, loaded in {:.2f} s, checked in {:.2f} s",
            self.files.model.name,
            self.files.model.version,
            self.files.model.digest,
            {"golden": "golden examples answered right", "smoke": "smoke-tested only", "none": "not checked"}[
                self.check.kind
            ],
            *self.timings.values(),
        )
