"""From a validated request to a reply and its rows in the inference log."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from loguru import logger
from pydantic import BaseModel, RootModel

from app.core.config import Settings
from app.core.errors import InvalidInputError, TooLargeError
from app.services.artifact import ModelFiles
from app.services.feedback import PredictionIds
from app.services.inference_log import InferenceLog
from app.services.model_server import ModelServer, RunningModel, Served
from app.services.monitoring import Monitor
from app.services.monitoring.observation import answer_of
from app.services.predictor import Predictor

Written = TypeVar("Written")


class Inference:
    """Asks the model, and tells the inference log and the monitor what it said."""

    def __init__(
        self, settings: Settings, server: ModelServer, log: InferenceLog, monitor: Monitor, ids: PredictionIds
    ) -> None:
        """Bring the parts together."""
        self._settings = settings
        self._server = server
        self._log = log
        self._monitor = monitor
        self._ids = ids

    def start(self, files: ModelFiles) -> None:
        """Get log and monitor ready for rows about this model; called again after a swap."""
        self._log.start(files)
        self._monitor.start(files)

    def count_error(self, kind: str) -> None:
        """Count a request that ended without a prediction. Never raises."""
        self._log.count_error(kind)
        self._monitor.count_error(kind)

    def stop(self, timeout: float) -> None:
        """Hand over the last window, then stop the log; back within `timeout` seconds."""
        self._monitor.stop()
        self._log.stop(timeout)

    async def predict(
        self,
        request: BaseModel,
        *,
        model: RunningModel,
        write: Callable[[dict[str, Any]], Written],
        request_id: str,
        trace: str | None = None,
    ) -> Written:
        """Answer a validated request.

        Args:
            request: an instance of the predictor's `Request`.
            model: the leased model, whose `Request` it is.
            write: turns the fields of the reply into what is sent. Rows are logged only after it has succeeded, so
                that no row claims an answer that nobody could get.
            request_id: the id that the reply's header carries; the rows carry it too.
            trace: the trace that the request belongs to.

        Returns:
            What `write` made of the fields of the predictor's `Response`, with `id` and `model` where it declares
            them. Each entry of a `predictions` list has an `id` of its own: the key of its row in the inference log.

        Raises:
            RequestError: nothing of the request was answered; no row was logged.
        """
        predictor, files = model.predictor, model.files
        items = predictor.split(request)
        self._limit(items)
        served = await self._server.predict(items, model)
        reply = predictor.join(request, items, [entry.output for entry in served])
        predictions = reply.get("predictions")
        listed = isinstance(predictions, list) and len(predictions) == len(served)
        rows = [_row(predictor, entry) for entry in served]
        ids = [self._ids.issue(*answer_of(row), files.model.version) for row in rows]
        if listed and isinstance(predictions, list):
            reply["predictions"] = [
                {"id": row_id, **entry} if isinstance(entry, dict) else entry
                for row_id, entry in zip(ids, predictions, strict=True)
            ]
        added = {
            "id": request_id if listed else ids[0],
            "model": {"name": files.model.name, "version": files.model.version, "digest": files.model.digest},
        }
        declared = {name: value for name, value in added.items() if _declares(predictor.Response, name)}
        written = write({**reply, **declared})
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for row_id, columns, entry in zip(ids, rows, served, strict=True):
            row = {
                "id": row_id,
                "time": now,
                **columns,
                **_measured(entry),
                "status": 200,
                "model_version": files.model.version,
                "model_digest": files.model.digest,
                "request_id": request_id,
                **({"trace": trace} if trace else {}),
            }
            self._log.record(row)
            self._monitor.observe(row)
        await self._log.settle()
        return written

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


def _declares(response: type[BaseModel], name: str) -> bool:
    """Whether a reply of this class has the field; one that wraps several classes has it in each of them."""
    return issubclass(response, RootModel) or name in response.model_fields


def _row(predictor: Predictor, entry: Served) -> dict[str, Any]:
    """Return the predictor's columns; a class that fails at them costs its columns, not the reply."""
    try:
        return predictor.row(entry.item, entry.output)
    except Exception as error:  # noqa: BLE001 - a custom class may raise anything
        logger.error(
            "{} cannot describe an inference for the log: {}", type(predictor).__name__, type(error).__name__
        )
        return {"row_error": type(error).__name__}


def _measured(entry: Served) -> dict[str, Any]:
    return {
        "queue_ms": round(entry.queue_ms, 3),
        "inference_ms": round(entry.inference_ms, 3),
        "batch_size": entry.batch_size,
    }
