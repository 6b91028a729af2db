"""The OpenAPI page: the routes, with the request and response classes of the model that is loaded."""

import weakref
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.access import OPEN_PATHS
from app.api.errors import INTERNAL, KINDS, MEDIA_TYPE
from app.models.problem import Problem
from app.services.predictor import Predictor

_REFERENCE = "#/components/schemas/{model}"
_UNKNOWN = {"type": "object", "description": "Known once the model is loaded; read this page again then."}
_TITLES = {kind.status: kind.title for kind in (INTERNAL, *KINDS.values())}
_RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error replies."""
    return {
        status: {
            "description": _TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
            **({"headers": {"Retry-After": _RETRY_AFTER}} if status in (429, 503) else {}),
        }
        for status in statuses
    }


PREDICT_DOCUMENTATION: dict[str, Any] = {"responses": problems(400, 408, 413, 415, 422, 429, 500, 503, 504)}
PREDICT_BY_GET_DOCUMENTATION: dict[str, Any] = {
    "responses": problems(422, 429, 500, 503, 504),
    "openapi_extra": {
        "parameters": [
            {"name": "text", "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]
    },
}


class DocumentedApp(FastAPI):
    """A FastAPI app whose OpenAPI page follows the model."""

    _documented: tuple[Callable[[], Predictor | None], dict[str, Any]] | None = None

    def openapi(self) -> dict[str, Any]:
        """Return the schema; made again when another model is there."""
        predictor: Predictor | None = self.state.service.server.predictor
        if self._documented is None or self._documented[0]() is not predictor:
            # A weak reference: the page of a model that was swapped out must not keep it in memory.
            described = weakref.ref(predictor) if predictor else lambda: None
            self._documented = (described, self._schema(predictor))
        return self._documented[1]

    def _schema(self, predictor: Predictor | None) -> dict[str, Any]:
        schema = get_openapi(
            title=self.title, version=self.version, description=self.description, routes=self.routes
        )
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        classes: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
        if predictor is not None:
            classes += [(predictor.Request, "validation"), (predictor.Response, "serialization")]
        if self.state.service.settings.api_keys is not None:
            _document_keys(schema)
        references, definitions = models_json_schema(classes, ref_template=_REFERENCE)
        known.update(definitions.get("$defs", {}))
        asked, answered = (references[entry] for entry in classes[1:]) if predictor else (_UNKNOWN, _UNKNOWN)
        for path in ("/predict", "/api/v1/predict"):
            for method, operation in schema["paths"][path].items():
                if method == "post":
                    operation["requestBody"] = {
                        "required": True,
                        "content": {"application/json": {"schema": asked}},
                    }
                operation["responses"]["200"]["content"] = {"application/json": {"schema": answered}}
        return schema


def _document_keys(schema: dict[str, Any]) -> None:
    """Say how a key is sent, and that everything but the probes needs one."""
    schema["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    schema["security"] = [{"bearer": []}, {"header": []}]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path in OPEN_PATHS:
                operation["security"] = []
            else:
                operation["responses"] |= {str(status): reply for status, reply in problems(401).items()}
