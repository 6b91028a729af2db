"""One model from its files to its end: loaded, checked, run on a worker of its own, drained and freed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.core.config import Settings
from app.core.threads import in_daemon_thread
from app.services.artifact import ModelFiles
from app.services.batching import Batcher, Served
from app.services.golden import ModelCheck, check_model
from app.services.predictor import Predictor, load_predictor


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model that may be served.

    Attributes:
        files: the verified files that it was loaded from.
        predictor: the loaded model.
        check: how it was checked.
        timings: seconds that loading and checking took.
    """

    files: ModelFiles
    predictor: Predictor
    check: ModelCheck
    timings: dict[str, float]


def load_checked(
    files: ModelFiles, settings: Settings, tell: Callable[[str], None] = lambda _: None
) -> CheckedModel:
    """Load a model and have it answer its golden examples. Blocks.

    Args:
        files: the verified files.
        settings: the configuration.
        tell: is told what is done next.

    Raises:
        ModelLoadError: the files are not what the loader needs.
        GoldenMismatchError: the model does not answer as its exporter measured.
    """
    started = time.perf_counter()
    tell(f"the model {files.model.name}:{files.model.version} is being loaded")
    predictor = load_predictor(files, settings)
    loaded = time.perf_counter()
    tell("the model is being checked")
    check = check_model(predictor, files)
    files = replace(files, warnings=tuple(predictor.describe().get("warnings") or ()))
    return CheckedModel(
        files, predictor, check, {"load": loaded - started, "check": time.perf_counter() - loaded}
    )


class RunningModel:
    """A model with its worker. It is used on the event loop's thread alone."""

    def __init__(self, checked: CheckedModel, settings: Settings) -> None:
        """Start the worker on `checked`, with a line as long as the settings allow."""
        self.files = checked.files
        self.predictor = checked.predictor
        self.check = checked.check
        self._batcher = Batcher(checked.predictor, settings.max_waiting, settings.max_waiting_characters)
        self._leases = 0
        self._closed = False
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def waiting(self) -> int:
        """Items in line or being predicted."""
        return self._batcher.waiting

    def lease(self) -> "Lease":
        """Return what keeps the model running for one request, whatever is swapped meanwhile."""
        return Lease(self)

    def take(self) -> None:
        """Count one more request that uses it."""
        self._leases += 1
        self._unused.clear()

    def give_back(self) -> None:
        """Count one less."""
        self._leases -= 1
        if not self._leases:
            self._unused.set()

    async def predict(self, items: Sequence[Any]) -> list[Served]:
        """Answer the items of one request, in order; cancel the call to give it up.

        Raises:
            RequestError: nothing of the request is answered; see `Batcher.run`.
        """
        return await self._batcher.run(items)

    async def drain(self, timeout: float) -> bool:
        """Wait until no request uses it, for at most `timeout` seconds; return whether none does."""
        try:
            async with asyncio.timeout(timeout):
                await self._unused.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, timeout: float) -> bool:
        """Answer what is in line, take nothing new, free the model; return whether all was answered.

        A model that still computes after `timeout` seconds is left to itself.
        """
        answered = await in_daemon_thread(lambda: self._batcher.stop(timeout), "stop-model")
        if answered and not self._closed:
            self._closed = True
            self.predictor.close()
        return answered


class Lease:
    """A model in use: ``with model.lease() as leased: …``."""

    __slots__ = ("_model",)

    def __init__(self, model: RunningModel) -> None:
        """Lease `model` from the beginning of the block on."""
        self._model = model

    def __enter__(self) -> RunningModel:
        self._model.take()
        return self._model

    def __exit__(self, *_: object) -> None:
        self._model.give_back()
