"""Counts every request by its route, as pure ASGI."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.services.monitoring import Monitor

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_OTHER = "other"
_PREDICTING = "/predict"


class RequestMetrics:
    """Tells the monitor how each request ended and how long it took. No path that a client made up becomes a label."""

    def __init__(self, app: ASGIApp, monitor: Monitor) -> None:
        """Wrap `app`."""
        self.app = app
        self._monitor = monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            # Written into the scope by the router, if it found one.
            route = getattr(scope.get("route"), "path", _OTHER)
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            predicting = route.endswith(_PREDICTING) and method in ("GET", "POST", "HEAD")
            seconds = time.perf_counter() - started
            self._monitor.observe_request(method, route, status, seconds, prediction=predicting)
