"""uvicorn's HTTP connections with limits of time and size for what a client owes: its head, its body, taking the reply.

A connection that owes nothing may idle. Nothing is counted for a request that comes whole and whose reply is taken.
"""

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.errors import Kind, problem_response

LARGEST_HEAD = 65_536
"""Bytes of request line and headers; httptools has no limit of its own."""

_NO_REQUEST = Kind(400, "unreadable", "The request cannot be read")
_LARGE_HEAD = Kind(431, "too-large", "The request is too large")
_DETAILS = {
    _NO_REQUEST: "this is no HTTP/1.1 request",
    _LARGE_HEAD: f"the headers are larger than {LARGEST_HEAD} bytes",
}


def bounded_connections(seconds: float) -> type[HttpToolsProtocol]:
    """Return the class of connections that give a client `seconds` for each of the things it owes."""

    class Connections(BoundedConnection):
        patience = seconds

    return Connections


class _ForgivingTransport:
    """A transport that drops what is written after it was closed, as asyncio's own do.

    uvloop's raise, and a reply may be ready just when a client leaves, or when its next bytes were no request.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


class BoundedConnection(HttpToolsProtocol):
    """One connection. The time for a body that the service reads is kept by `app.api.middleware.Failsafe`."""

    patience = 30.0
    """Seconds for a head, for the rest of a body that nobody reads any more, and for taking a reply."""

    _head_bytes = 0
    _in_head = False
    _in_message = False
    _owed: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None
    _refusal = _NO_REQUEST

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        super().connection_made(_ForgivingTransport(transport))  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the limits."""
        self._paid()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, and start the clock if it is part of a head only."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > LARGEST_HEAD:
            self._refusal = _LARGE_HEAD
            self.send_400_response("")
        elif self._owed is None:
            self._owed = self.loop.call_later(self.patience, self._give_up)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = self._in_message = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the clock for the head, and let the request in unless the head is too large."""
        self._in_head = False
        self._paid()
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > LARGEST_HEAD:
            self._refusal = _LARGE_HEAD
            raise ValueError("the head is too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock for the rest of a body."""
        self._in_message = False
        self._paid()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the clock if the reply is there before the whole of the body is."""
        super().on_response_complete()
        if self._in_message and self._owed is None and not self._in_head:
            self._owed = self.loop.call_later(self.patience, self._give_up)

    def pause_writing(self) -> None:
        """Start the clock for a reply that is not taken."""
        super().pause_writing()
        if self._untaken is None:
            self._untaken = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it."""
        self._taken()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, and at once if the last reply was never taken: closing would wait for that."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, in the shape of the service's other errors; then close."""
        if self.transport.is_closing():
            return
        request_id = uuid.uuid4().hex
        reply = problem_response(self._refusal, _DETAILS[self._refusal], request_id)
        lines = [STATUS_LINE[reply.status_code]]
        for name, value in (
            *reply.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ):
            lines.append(name + b": " + value + b"\r\n")
        self.transport.write(b"".join([*lines, b"\r\n", reply.body]))
        self.transport.close()

    def _give_up(self) -> None:
        self._owed = None
        self.transport.abort()

    def _paid(self) -> None:
        if self._owed is not None:
            self._owed.cancel()
            self._owed = None

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None
