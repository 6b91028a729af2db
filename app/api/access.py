"""Who may ask: API keys, and origins of browsers' pages; as pure ASGI."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import Kind, problem_response, request_error_response
from app.core.errors import UnauthorizedError

OPEN_PATHS = ("/health/live", "/health/ready")
"""Probes of platforms cannot send keys."""
_NO_KEY = "send an API key, as Authorization: Bearer KEY or X-API-Key: KEY"
_WRONG_KEY = "this API key is not known here"
_FROM_HERE = ("same-origin", "none")
_REFUSED = Kind(403, "origin", "This origin may not ask")

_METHODS = "GET, HEAD, OPTIONS, POST"
_HEADERS = "authorization, content-type, traceparent, x-api-key, x-request-id"
_EXPOSED = b"retry-after, x-request-id"
_PREFLIGHT_SECONDS = "600"


class ApiKeys:
    """Asks for an API key everywhere but at the probes."""

    def __init__(self, app: ASGIApp, keys: Sequence[bytes], root_path: str = "") -> None:
        """Wrap `app`; any of `keys` opens it, so that an old one and a new one may overlap."""
        self.app = app
        # Digests have one length, so that comparing them tells nothing about the keys' own.
        self._digests = [hashlib.sha256(key).digest() for key in keys]
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 401."""
        if (
            scope["type"] != "http"
            or scope["path"].removeprefix(self._root_path) in OPEN_PATHS
            or (refused := self._refused(headers := Headers(scope=scope))) is None
        ):
            await self.app(scope, receive, send)
            return
        reply = request_error_response(UnauthorizedError(refused), scope["state"]["request_id"])
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            # A browser asks its user: any name, and the key as the password.
            reply.headers["WWW-Authenticate"] = 'Basic realm="marquee", charset="UTF-8"'
        await reply(scope, receive, send)

    def _refused(self, headers: Headers) -> str | None:
        """Return why the key is not taken; None if it is."""
        given = _given(headers)
        if not given:
            return _NO_KEY
        digest = hashlib.sha256(given).digest()
        # All are compared, whichever one it is.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return None if any(matches) else _WRONG_KEY


def _given(headers: Headers) -> bytes:
    if key := headers.get("x-api-key", "").strip():
        return key.encode("latin-1")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("latin-1")
    # A browser adds these by itself, so a foreign page must not be able to make it ask.
    if scheme.lower() == "basic" and headers.get("sec-fetch-site", "none") in _FROM_HERE:
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


class CrossOrigin:
    """Lets pages of listed origins ask and read the replies, failures too. There are no cookies to let pass."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Wrap `app`; an origin is compared as a whole, ``*`` stands for any."""
        self.app = app
        self._origins = frozenset(origins)
        self._any = "*" in self._origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or add to the reply what the browser wants to see."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        allowed = bool(origin) and (self._any or origin in self._origins)
        added = [(b"vary", b"Origin")]
        if allowed:
            added += [
                (b"access-control-allow-origin", b"*" if self._any else origin.encode("latin-1")),
                (b"access-control-expose-headers", _EXPOSED),
            ]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        if origin and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            reply = _preflight() if allowed else _not_allowed(scope["state"]["request_id"])
            await reply(scope, receive, answer)
        else:
            await self.app(scope, receive, answer)


def _preflight() -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
        },
    )


def _not_allowed(request_id: str) -> Response:
    return problem_response(_REFUSED, "CORS_ORIGINS of this server does not list this origin.", request_id)
