"""The FastAPI app without the layers that this service does not use, and with a short way to predictions.

FastAPI's own telemetry, body limit and server-error page come before every request's middleware, its routers match by
several steps, and its routes open two stacks for dependencies. `app.api.middleware` has the limits and the last answer,
``/metrics`` the figures, and predictions have no dependencies: they are asked directly.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.documentation import DocumentedApp
from app.api.errors import client_left_response, request_error_response
from app.core.errors import RequestError

Endpoint = Callable[[Request], Awaitable[Response]]


class Application(DocumentedApp):
    """A FastAPI app that answers some routes directly."""

    direct: Mapping[tuple[str, str], tuple[APIRoute, Endpoint]] = {}
    """Routes that are answered without the router, by method and path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the server's start and stop."""
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Put the app's own middleware around the direct routes, and these around all others."""
        app: ASGIApp = AsyncExitStackMiddleware(self.router)
        app = ExceptionMiddleware(app, handlers=self.exception_handlers)
        app = Direct(app, self.direct)
        for kind, arguments, options in reversed(self.user_middleware):
            app = kind(app, *arguments, **options)
        return app


class Direct:
    """Answers some routes by calling their functions; everything else is the router's."""

    def __init__(self, app: ASGIApp, routes: Mapping[tuple[str, str], tuple[APIRoute, Endpoint]]) -> None:
        """Wrap `app`."""
        self.app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        found = self._routes.get((scope.get("method", ""), path))
        if found is None:
            await self.app(scope, receive, send)
            return
        scope["route"], endpoint = found
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except RequestError as error:
            response = request_error_response(error, request.state.request_id)
        except ClientDisconnect:
            response = client_left_response()
        await response(scope, receive, send)
