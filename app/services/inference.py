"""From a validated request to a reply and its rows in the inference log."""

import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from app.core.config import Settings
from app.core.errors import InvalidInputError, NotReadyError, TooLargeError
from app.services.inference_log import InferenceLog
from app.services.model_server import ModelServer, Served


class Inference:
    """Asks the model and logs what it said."""

    def __init__(self, settings: Settings, server: ModelServer, log: InferenceLog) -> None:
        """Bring the parts together."""
        self._settings = settings
        self._server = server
        self._log = log

    async def predict(
        self, request: BaseModel, *, request_id: str, trace: str | None = None
    ) -> dict[str, Any]:
        """Answer a validated request.

        Args:
            request: an instance of the predictor's `Request`.
            request_id: the id that the reply's header carries; the rows carry it too.
            trace: the trace that the request belongs to.

        Returns:
            The fields of the predictor's `Response`, with `id` and `model`. Each entry of a `predictions` list has
            an `id` of its own: the key of its row in the inference log.

        Raises:
            RequestError: nothing of the request was answered; no row was logged.
        """
        predictor, files = self._server.predictor, self._server.files
        if predictor is None or files is None:
            raise NotReadyError(self._server.reason)
        items = predictor.split(request)
        self._limit(items)
        served = await self._server.predict(items)
        reply = predictor.join(request, items, [entry.output for entry in served])
        predictions = reply.get("predictions")
        listed = isinstance(predictions, list) and len(predictions) == len(served)
        ids = [uuid.uuid4().hex for _ in served]
        if listed and isinstance(predictions, list):
            reply["predictions"] = [
                {"id": row_id, **entry} if isinstance(entry, dict) else entry
                for row_id, entry in zip(ids, predictions, strict=True)
            ]
        model = {"name": files.model.name, "version": files.model.version, "digest": files.model.digest}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for row_id, entry in zip(ids, served, strict=True):
            self._log.record(
                {
                    "id": row_id,
                    "time": now,
                    **predictor.row(entry.item, entry.output),
                    **_measured(entry),
                    "status": 200,
                    "model_version": files.model.version,
                    "model_digest": files.model.digest,
                    "request_id": request_id,
                    **({"trace": trace} if trace else {}),
                }
            )
        return {**reply, "id": request_id if listed else ids[0], "model": model}

    def _limit(self, items: list[Any]) -> None:
        if len(items) > self._settings.max_texts:
            raise TooLargeError(
                f"{len(items)} items in one request, at most {self._settings.max_texts} are taken"
            )
        for position, item in enumerate(items):
            if isinstance(item, str) and len(item) > self._settings.max_text_characters:
                raise InvalidInputError(
                    f"the text has {len(item)} characters, at most {self._settings.max_text_characters} are taken",
                    position if len(items) > 1 else None,
                )


def _measured(entry: Served) -> dict[str, Any]:
    return {
        "queue_ms": round(entry.queue_ms, 3),
        "inference_ms": round(entry.inference_ms, 3),
        "batch_size": entry.batch_size,
    }
