"""Exceptions become replies here and nowhere else: RFC 9457 problem details, nothing of what was sent in them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from app.core import errors
from app.models.problem import Problem, ProblemItem

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
_MAX_LISTED = 1_000
_MAX_MESSAGE = 300
_MAX_PATH = 120
_MAX_NAME = 40
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_RETRY_NOT_READY = 5
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its status, stable name and title."""

    status: int
    name: str
    title: str


KINDS: dict[type[Exception], Kind] = {
    errors.UnreadableError: Kind(400, "unreadable", "The body cannot be read"),
    errors.UnauthorizedError: Kind(401, "unauthorized", "An API key is needed"),
    errors.UnknownIdError: Kind(404, "unknown-id", "There is no such prediction"),
    errors.SlowBodyError: Kind(408, "slow-body", "The body did not arrive in time"),
    errors.ExpiredIdError: Kind(410, "expired-id", "The prediction is too old"),
    errors.TooLargeError: Kind(413, "too-large", "The request is too large"),
    errors.UnsupportedMediaTypeError: Kind(415, "unsupported-media-type", "The content type is not taken"),
    errors.InvalidInputError: Kind(422, "invalid-input", "The input is not acceptable"),
    errors.OverloadedError: Kind(429, "overloaded", "Too much is waiting"),
    errors.PredictionFailedError: Kind(500, "prediction-failed", "The model failed"),
    errors.NotReadyError: Kind(503, "not-ready", "No model is ready"),
    errors.DeadlineError: Kind(504, "deadline", "The prediction took too long"),
}
"""Each subclass of `RequestError` and the reply to it."""

INTERNAL = Kind(500, "internal", "Something went wrong here")
_NOT_FOUND = Kind(404, "not-found", "There is nothing at this path")
_METHOD = Kind(405, "method-not-allowed", "This path does not take this method")


def kind_of(error: errors.RequestError) -> Kind:
    """Return the kind of the nearest class that has one; a subclass of somebody's own is like its parent."""
    for ancestor in type(error).__mro__:
        if ancestor in KINDS:
            return KINDS[ancestor]
    return INTERNAL


def problem_response(
    kind: Kind,
    detail: str,
    request_id: str,
    *,
    items: list[ProblemItem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem reply; texts are cut to a few hundred characters and made printable."""
    problem = Problem(
        type=f"urn:marquee:problem:{kind.name}",
        title=kind.title,
        status=kind.status,
        detail=bounded(detail, 2 * _MAX_MESSAGE),
        instance=request_id,
        errors=items[:MAX_ERRORS] if items else None,
    )
    body = json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=False).encode()
    return Response(body, kind.status, headers, MEDIA_TYPE)


def request_error_response(error: errors.RequestError, request_id: str) -> Response:
    """Return the reply to an error that was raised on purpose."""
    kind = kind_of(error)
    headers: dict[str, str] = {}
    items: list[ProblemItem] | None = None
    detail = str(error) or kind.title
    if isinstance(error, errors.OverloadedError):
        headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.NotReadyError):
        headers["Retry-After"] = str(_RETRY_NOT_READY)
    elif isinstance(error, errors.UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, errors.SlowBodyError):
        headers["Connection"] = "close"
    elif isinstance(error, errors.InvalidFieldsError):
        items = [
            ProblemItem(path=bounded(path, _MAX_PATH) or None, message=bounded(message, _MAX_MESSAGE))
            for path, message in error.fields[:MAX_ERRORS]
        ]
    elif isinstance(error, errors.InvalidInputError) and error.position is not None:
        items = [ProblemItem(position=error.position, message=bounded(detail, _MAX_MESSAGE))]
        detail = f"item {error.position}: {detail}"
    return problem_response(kind, detail, request_id, items=items, headers=headers)


def internal_response(request_id: str) -> Response:
    """Return the reply to a fault of ours: the log has the cause, the client gets the id to ask about."""
    return problem_response(INTERNAL, "The cause is in the server's log under this request's id.", request_id)


def client_left_response() -> Response:
    """Answer nobody; the status, nginx's for a client that left, is for the access line."""
    return Response(status_code=499)


def fields_error(error: ValidationError | RequestValidationError) -> errors.InvalidFieldsError:
    """Return what pydantic found wrong, without the values that it found wrong.

    A `ValidationError` of a body that is no JSON at all is to be handled before.
    """
    if isinstance(error, ValidationError):
        # Writing a list of them takes several times as long as finding them.
        if error.error_count() > _MAX_LISTED:
            return errors.InvalidFieldsError([("", f"{error.error_count()} fields are not acceptable")])
        found = error.errors(include_input=False, include_url=False, include_context=False)
        fields = [(path_of(entry["loc"]), entry["msg"]) for entry in found]
    else:
        fields = [(path_of(entry["loc"]), str(entry["msg"])) for entry in error.errors()]
    return errors.InvalidFieldsError(
        [(path, message.removeprefix("Value error, ")) for path, message in fields]
    )


def path_of(parts: tuple[int | str, ...] | list[int | str]) -> str:
    """Write a place in a document as people do: ``texts[3].language``; each name cut, as a client may choose it."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + bounded(part, _MAX_NAME)
    return path


def bounded(text: str, length: int) -> str:
    """Return `text` without control characters and half surrogates, cut to `length` characters."""
    text = _UNPRINTABLE.sub("\ufffd", text[: length + 1])
    return text if len(text) <= length else text[: length - 1] + "…"


def install(app: FastAPI) -> None:
    """Make the app answer its exceptions with problems."""
    app.add_exception_handler(errors.RequestError, _on_request_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_client_disconnect)


async def _on_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.RequestError)
    return request_error_response(error, request.state.request_id)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return request_error_response(fields_error(error), request.state.request_id)


async def _on_client_disconnect(_request: Request, _error: Exception) -> Response:
    return client_left_response()


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses."""
    assert isinstance(error, HTTPException)
    request_id: str = request.state.request_id
    if error.status_code == 404:
        return problem_response(_NOT_FOUND, "See /docs for what there is.", request_id)
    if error.status_code == 405:
        allowed = allowed_methods(request)
        headers = {"Allow": ", ".join(allowed)}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        return problem_response(_METHOD, f"It takes {headers['Allow']}.", request_id, headers=headers)
    kind = Kind(error.status_code, "http", "The request cannot be answered")
    return problem_response(kind, str(error.detail), request_id, headers=error.headers)


def allowed_methods(request: Request) -> list[str]:
    """Return the methods that the request's path takes, asked of all routes, since several may share a path."""
    found = [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
    if "GET" in found and "HEAD" not in found:
        found.append("HEAD")
    return sorted({*found, "OPTIONS"})
