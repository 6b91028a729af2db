"""What happens to every request, as pure ASGI: its id and trace, the access line, limits while its body is read."""

import asyncio
import re
import time
from collections.abc import Iterable
from urllib.parse import quote

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import internal_response, request_error_response
from app.api.headers import header
from app.core.access_log import Access, access_log
from app.core.deadline import Deadline
from app.core.errors import NotReadyError, OverloadedError, SlowBodyError, StartupError, TooLargeError
from app.core.events import Lifecycle
from app.core.unique import unique_bytes

Header = tuple[bytes, bytes]

REQUEST_ID = "x-request-id"
_REQUEST_ID = REQUEST_ID.encode()
_TRACE_HEADERS = (b"traceparent", b"x-cloud-trace-context")
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_POLICY = b"content-security-policy"
_NO_PAGE = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")
"""For replies that bring no policy of their own: data, which no browser should run or show in a frame."""
_CACHING = b"cache-control"
_NOT_KEPT = (_CACHING, b"no-store")
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(/\d+)?(;o=\d)?")
_SLASHED = ("/predict/", "/api/", "/health/")
"""Where a slash at the end is left out. A redirect would lose the POST behind a proxy that ends TLS."""
_PROBES = "/health/"
_LONGEST_PATH = 200
_LARGEST_BODIES = 64
"""So many bodies of the largest size may be in memory at a time."""
_LONGEST_LENGTH = 18
"""Digits of a Content-Length; Python refuses to read numbers of thousands of digits."""


def trace_of(scope: Scope) -> str | None:
    """Return the id, 32 hex digits, of the trace that a request belongs to.

    From W3C's ``traceparent``, else Google's ``X-Cloud-Trace-Context``; None where neither is there or valid.
    """
    for name, form in zip(_TRACE_HEADERS, (_TRACEPARENT, _CLOUD_TRACE), strict=True):
        if found := form.fullmatch(header(scope, name)):
            return found[1]
    return None


class RequestContext:
    """Gives a request its id, counts it as open, and logs one line about it when it is answered.

    HEAD is asked as GET and answered without a body.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, root_path: str = "") -> None:
        """Wrap `app`; `root_path` is the path under which a proxy serves it."""
        self.app = app
        self._lifecycle = lifecycle
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def plain(message: Message) -> None:
            failure = self._lifecycle.failure
            if message["type"] == "lifespan.startup.failed" and isinstance(failure, StartupError):
                # The framework sends the whole traceback, of which people need the last line.
                message = {**message, "message": str(failure)}
            await send(message)

        await self.app(scope, receive, plain)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        given = header(scope, _REQUEST_ID)
        request_id = given if _ACCEPTED_ID.fullmatch(given) else unique_bytes(16).hex()
        trace = trace_of(scope)
        method, path, status = scope["method"], scope["path"], 0
        scope = self._normalised(scope, request_id, trace)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._completed(message["headers"], request_id)
            elif method == "HEAD" and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        self._lifecycle.begin_request()
        try:
            with logger.contextualize(request_id=request_id, **({"trace": trace} if trace else {})):
                try:
                    await self.app(scope, receive, answer)
                finally:
                    milliseconds = (time.perf_counter() - started) * 1000
                    # Quoted, for a path may hold line ends.
                    shown = quote(path[:_LONGEST_PATH])
                    level = _level(path, status)
                    access_log(Access(level, method, shown, status, milliseconds, request_id, trace))
        finally:
            self._lifecycle.end_request()

    def _completed(self, headers: Iterable[Header], request_id: str) -> list[Header]:
        """Add what every reply carries."""
        completed = [*headers, (_REQUEST_ID, request_id.encode()), *_SAFE]
        names = [name for name, _ in completed]
        if _POLICY not in names:
            completed.append(_NO_PAGE)
        if _CACHING not in names:
            completed.append(_NOT_KEPT)
        if self._lifecycle.stopping and b"connection" not in names:
            # The client's next request would meet a connection that is being closed.
            completed.append((b"connection", b"close"))
        return completed

    def _normalised(self, scope: Scope, request_id: str, trace: str | None) -> Scope:
        path = scope["path"]
        if path.endswith("/") and path.removeprefix(self._root_path).startswith(_SLASHED):
            path = path.rstrip("/")
        return {
            **scope,
            "method": "GET" if scope["method"] == "HEAD" else scope["method"],
            "path": path,
            "root_path": self._root_path or scope.get("root_path", ""),
            "state": {**scope.get("state", {}), "request_id": request_id, "trace": trace},
        }


def _level(path: str, status: int) -> str:
    if _PROBES in path and status in (200, 503):
        return "DEBUG"
    if status in (0, 500):
        return "ERROR"
    return "WARNING" if status > 500 or status == 429 else "INFO"


class Failsafe:
    """Answers what nobody below has answered, and limits the body while it is read, however it is framed.

    The bodies of all open requests together are limited too: slow clients may hold them for long.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, max_body_bytes: int, body_seconds: float) -> None:
        """Wrap `app`; a body must be there within `body_seconds` of the request's first line."""
        self.app = app
        self._lifecycle = lifecycle
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._held_bytes = 0
        self._max_held_bytes = _LARGEST_BODIES * max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False
        held = _Held()
        request_id: str = scope["state"]["request_id"]

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, self._limited(scope, receive, held), noting)
        except asyncio.CancelledError:
            if begun or not self._lifecycle.stopping:
                raise
            # The server gives up what is still open when its time to stop is over.
            error = NotReadyError("the service stopped before this request was answered")
            await request_error_response(error, request_id)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - whatever it was, the client gets an answer without internals
            logger.opt(exception=error).error("a request failed: {}", type(error).__name__)
            if not begun:
                await internal_response(request_id)(scope, receive, send)
        finally:
            self._held_bytes -= held.bytes

    def _limited(self, scope: Scope, receive: Receive, held: "_Held") -> Receive:
        declared = header(scope, b"content-length")
        complete = False
        started = time.perf_counter()

        async def limited() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            if declared.isdecimal() and (
                len(declared) > _LONGEST_LENGTH or int(declared) > self._max_body_bytes
            ):
                raise self._too_large()
            try:
                with Deadline(started + self._body_seconds - time.perf_counter()):
                    message = await receive()
            except TimeoutError:
                raise SlowBodyError(f"the body was not there within {self._body_seconds:g} s") from None
            part = len(message.get("body", b""))
            held.bytes += part
            self._held_bytes += part
            if held.bytes > self._max_body_bytes:
                raise self._too_large()
            if self._held_bytes > self._max_held_bytes:
                raise OverloadedError(
                    "the bodies of other requests take all the memory that there is for them"
                )
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        return limited

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._max_body_bytes} bytes")


class _Held:
    """The bytes of one request's body that are in memory."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0
