"""The one place that knows the current model: obtain, load, check, predict, swap, stop."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal

from loguru import logger

from app.core import garbage
from app.core.config import Settings
from app.core.deadline import Deadline
from app.core.errors import DeadlineError, NotReadyError, StartupError
from app.services.artifact import ModelFiles
from app.services.batching import Served
from app.services.golden import ModelCheck
from app.services.predictor import Predictor
from app.services.refresh import ModelRefresh, RefreshStatus
from app.services.registry import obtain_model
from app.services.running_model import CheckedModel, Lease, RunningModel, load_checked

__all__ = ["ModelServer", "RunningModel", "Served"]

State = Literal["starting", "ready", "failed", "stopping"]

_CHECKED = {"golden": "golden examples answered right", "smoke": "smoke-tested only", "none": "not checked"}


class ModelServer:
    """Holds the model and says whether it may be asked.

    Attributes:
        state: `ready` only after the right model has answered its golden examples.
        reason: why it is not ready, in words; empty when it is.
        timings: seconds that the parts of the start took.
        on_swap: called on the event loop with the files of each model that is swapped in, once it answers.
    """

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; nothing is loaded yet."""
        self._settings = settings
        self._files: ModelFiles | None = None
        self._current: RunningModel | None = None
        self._draining: set[RunningModel] = set()
        self._refresh: ModelRefresh | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._cancelled = threading.Event()
        self._begun: Future[CheckedModel] | None = None
        self.state: State = "starting"
        self.reason = "the model is not loaded yet"
        self.timings: dict[str, float] = {}
        self.on_swap: list[Callable[[ModelFiles], None]] = []

    @property
    def files(self) -> ModelFiles | None:
        """The verified files of the model, once they are there."""
        return self._current.files if self._current else self._files

    @property
    def predictor(self) -> Predictor | None:
        """The loaded model, once it is checked."""
        return self._current.predictor if self._current else None

    @property
    def check(self) -> ModelCheck | None:
        """How the model was checked."""
        return self._current.check if self._current else None

    @property
    def refresh(self) -> RefreshStatus | None:
        """What is known of the alias; None where it is not followed."""
        return self._refresh.status if self._refresh else None

    @property
    def waiting(self) -> int:
        """Items in line or being predicted, those of a model that is being drained included."""
        running = {self._current} if self._current else set()
        return sum(model.waiting for model in running | self._draining)

    def begin(self) -> None:
        """Begin to load the model on a thread, beside whatever the caller has to import; `start` waits for it."""
        begun: Future[CheckedModel] = Future()
        begun.set_running_or_notify_cancel()

        def work() -> None:
            try:
                begun.set_result(self._load())
            except BaseException as error:  # noqa: BLE001 - it is raised where the model is awaited
                begun.set_exception(error)

        self._begun = begun
        threading.Thread(target=work, name="load-model", daemon=True).start()

    async def start(self) -> None:
        """Obtain, load and check the model; then follow the alias if the settings say so.

        Raises:
            StartupError: it cannot be served; the state is `failed` and `reason` says why.
        """
        # Let go of, for it would keep the first model in memory after a swap.
        begun, self._begun = self._begun, None
        try:
            checked = await (asyncio.wrap_future(begun) if begun else asyncio.to_thread(self._load))
        except StartupError as error:
            self.state, self.reason = "failed", str(error)
            raise
        if self.state != "starting":
            checked.predictor.close()
            return
        del begun
        self._current = RunningModel(checked, self._settings)
        self.state, self.reason = "ready", ""
        if self._settings.model_refresh_seconds:
            self._refresh = ModelRefresh(self._settings, checked.files, self._swap, self._cancelled)
            self._refreshing = asyncio.create_task(self._refresh.run(), name="model-refresh")

    def lease(self) -> Lease:
        """Give the model that answers one request from its validation to its reply, whatever is swapped meanwhile.

        Raises:
            NotReadyError: no model is loaded, or the service is stopping.
        """
        if self.state != "ready" or self._current is None:
            raise NotReadyError(self.reason or "the service is stopping")
        return self._current.lease()

    async def predict(self, items: Sequence[Any], model: RunningModel | None = None) -> list[Served]:
        """Answer the items of one request, in order.

        Args:
            items: what the model's `split` gave.
            model: the leased one; left out, the current one.

        Raises:
            NotReadyError: the service is stopping.
            DeadlineError: it took longer than the settings allow; the work is dropped.
            RequestError: what the model refused or failed at; nothing of the request is answered.
        """
        if model is None:
            with self.lease() as current:
                return await self.predict(items, current)
        if self.state != "ready":
            raise NotReadyError(self.reason or "the service is stopping")
        try:
            with Deadline(self._settings.request_timeout_seconds):
                return await model.predict(items)
        except TimeoutError:
            raise DeadlineError(
                f"no answer within {self._settings.request_timeout_seconds:g} s: "
                "send fewer or shorter inputs, or try later"
            ) from None

    async def stop(self, timeout: float) -> bool:
        """Answer what is in line, take nothing new, free the models; return whether all were answered."""
        self.state, self.reason = "stopping", "the service is stopping"
        self._cancelled.set()
        running = {self._current, *self._draining} - {None}
        answered = await asyncio.gather(*(model.stop(timeout) for model in running if model))
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
        return all(answered)

    def _load(self) -> CheckedModel:
        started = time.perf_counter()
        self.reason = "the model's files are being fetched"
        self._files = obtain_model(self._settings, self._cancelled)
        obtained = time.perf_counter() - started

        def tell(step: str) -> None:
            self.reason = step

        checked = load_checked(self._files, self._settings, tell)
        self.timings = {"obtain": obtained, **checked.timings}
        logger.info("obtained in {:.2f} s; {}", obtained, _described(checked))
        return checked

    async def _swap(self, checked: CheckedModel) -> bool:
        """Serve another model from now on; back when the one before is drained and freed.

        Returns:
            False where the service is stopping: nothing was changed.
        """
        if self.state != "ready" or self._current is None:
            checked.predictor.close()
            return False
        old, self._current = self._current, RunningModel(checked, self._settings)
        logger.info("swapped; {}", _described(checked))
        for tell in self.on_swap:
            try:
                tell(checked.files)
            except Exception as error:  # noqa: BLE001 - nobody who is told may stop the swap half-way
                logger.opt(exception=error).error("the swap of the model could not be told to all")
        self._draining.add(old)
        try:
            # A request may wait for its body, and then for its prediction.
            await old.drain(2 * self._settings.request_timeout_seconds)
            if not await old.stop(self._settings.request_timeout_seconds):
                logger.warning("{} still computes and is left to itself", old.files.model.version)
        finally:
            self._draining.discard(old)
        del old
        await asyncio.to_thread(garbage.settle_again)
        return True


def _described(checked: CheckedModel) -> str:
    model = checked.files.model
    return (
        f"serving {model.name}:{model.version} (digest {model.digest}), {_CHECKED[checked.check.kind]}; loaded in "
        f"{checked.timings['load']:.2f} s, checked in {checked.timings['check']:.2f} s"
    )
