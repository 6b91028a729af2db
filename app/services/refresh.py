"""Following an alias while serving: look what it means now, load that beside the old model, swap.

Only for a server that is not pinned. Whatever goes wrong, the model that is served stays, and the status says why.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from loguru import logger

from app.core.config import Settings
from app.core.errors import (
    ArtifactContentError,
    DigestMismatchError,
    GoldenMismatchError,
    ModelLoadError,
    StartupError,
)
from app.core.threads import in_daemon_thread
from app.services.artifact import ModelFiles
from app.services.registry import ResolvedVersion, discard_version, obtain_model, resolve_version
from app.services.running_model import CheckedModel, load_checked

_JITTER = 0.2
"""Share by which an interval is shorter or longer, so that instances that started together do not ask together."""
_UNUSABLE = (ArtifactContentError, DigestMismatchError, GoldenMismatchError, ModelLoadError)
"""What says of a version that it will not do tomorrow either; everything else may pass."""


@dataclass(slots=True)
class RefreshStatus:
    """What is known of the alias.

    Attributes:
        state: `following`, or `degraded` where the alias could not be resolved or what it names could not be served.
        reason: why it is degraded, in words.
        checked_at: when the alias was last resolved, in ISO 8601; None before the first time.
        swaps: models that were swapped in since the start.
        rejected: the version that is not tried again until the alias names another one, such as ``v7``.
    """

    state: Literal["following", "degraded"] = "following"
    reason: str | None = None
    checked_at: str | None = None
    swaps: int = 0
    rejected: str | None = None


class ModelRefresh:
    """Looks at the alias every `MODEL_REFRESH_SECONDS`, and swaps when it names another version or digest."""

    def __init__(
        self,
        settings: Settings,
        files: ModelFiles,
        swap: Callable[[CheckedModel], Awaitable[bool]],
        cancelled: threading.Event,
    ) -> None:
        """Remember the parts; nothing is asked yet.

        Args:
            settings: the configuration; the alias is its `MODEL_VERSION`.
            files: the model that is served now.
            swap: serves another model from now on, and is back when the old one is drained. Returns False, having
                changed nothing, where the service is stopping.
            cancelled: set by another thread to give up at once.
        """
        self._settings = settings
        self._files = files
        self._swap = swap
        self._cancelled = cancelled
        self._rejected: ResolvedVersion | None = None
        self._warned: tuple[str, str | None] | None = None
        self._obtained_at = time.time()
        self._previous: tuple[str, float] | None = None
        self.status = RefreshStatus()

    async def run(self) -> None:
        """Look again and again until cancelled."""
        interval = self._settings.model_refresh_seconds
        while True:
            await asyncio.sleep(interval * random.uniform(1 - _JITTER, 1 + _JITTER))
            await self.look()

    async def look(self) -> None:
        """Resolve the alias once, and serve what it names if that is another model. Raises nothing of its own."""
        resolved: ResolvedVersion | None = None
        try:
            resolved = await self._resolve()
            if self._is_served(resolved):
                self._rejected = None
                self._recovered()
            elif resolved != self._rejected:
                await self._serve(resolved)
        except StartupError as error:
            self._failed(error, str(error), resolved)
        except Exception as error:  # noqa: BLE001 - loading runs the code of libraries and of custom classes
            logger.opt(exception=error).debug("the refresh failed")
            self._failed(error, f"it failed with {type(error).__name__}", resolved)

    async def _resolve(self) -> ResolvedVersion:
        resolved = await in_daemon_thread(
            lambda: resolve_version(self._settings, self._cancelled), "resolve-alias"
        )
        self.status.checked_at = datetime.now(UTC).isoformat(timespec="seconds")
        return resolved

    def _is_served(self, resolved: ResolvedVersion) -> bool:
        model = self._files.model
        return (resolved.version, resolved.digest) == (model.version, model.digest)

    async def _serve(self, resolved: ResolvedVersion) -> None:
        alias, artifact = self._settings.model_version, resolved.artifact
        logger.info("{} is {} now: it is loaded beside the model that is served", alias, artifact)
        pinned = self._settings.model_copy(
            update={"model_version": resolved.version, "model_digest": resolved.digest}
        )
        obtained_at = 0.0

        def load() -> CheckedModel:
            nonlocal obtained_at
            files = obtain_model(pinned, self._cancelled)
            obtained_at = time.time()
            return load_checked(files, pinned)

        try:
            checked = await in_daemon_thread(load, "load-model")
        except Exception as error:
            if obtained_at and _unusable(error):
                await self._discard(resolved.version, obtained_at)
            raise
        old, old_obtained_at = self._files, self._obtained_at
        self._files, self._obtained_at = checked.files, obtained_at
        if not await self._swap(checked):
            self._files, self._obtained_at = old, old_obtained_at
            return
        self._rejected = None
        self.status.swaps += 1
        self._recovered()
        await self._prune(old.model.version, old_obtained_at)

    async def _prune(self, version: str, obtained_at: float) -> None:
        """Keep the version that was served before on the disk, for a way back; delete the one before that."""
        before, self._previous = self._previous, (version, obtained_at)
        if before is not None and before[0] not in (version, self._files.model.version):
            await self._discard(*before)

    async def _discard(self, version: str, obtained_at: float) -> None:
        await in_daemon_thread(lambda: discard_version(self._settings, version, obtained_at), "discard-model")

    def _failed(self, error: Exception, reason: str, resolved: ResolvedVersion | None) -> None:
        if self._cancelled.is_set():
            return
        self._rejected = resolved if resolved and _unusable(error) else None
        if self._rejected:
            reason = f"{self._rejected.artifact} is not served: {reason}"
        self.status.state, self.status.reason = "degraded", reason
        self.status.rejected = self._rejected.version if self._rejected else None
        kind = type(error).__name__, resolved.version if resolved else None
        if self._warned != kind:
            self._warned = kind
            logger.warning("{} stays: {}", self._files.model.version, reason)

    def _recovered(self) -> None:
        if self.status.state == "degraded":
            logger.info("the alias is followed again; {} is served", self._files.model.version)
        self.status.state, self.status.reason, self.status.rejected = "following", None, None
        self._warned = None


def _unusable(error: Exception) -> bool:
    return isinstance(error, _UNUSABLE) or not isinstance(error, StartupError)
