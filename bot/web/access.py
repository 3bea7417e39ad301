"""Logs requests: these fields and no others, so that no body, signature or cookie gets into a log."""

import time

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from bot import log

QUIET = frozenset({"/healthz", "/readyz"})

logger = log.get(__name__)


class AccessLog(ASGIMiddleware):
    """One line for each request that has a route. The pattern is logged: paths are the sender's words."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Serve the request, then log it."""
        begun = time.perf_counter()
        status = 0
        size = 0

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message["body"])
            await send(message)

        try:
            await next_app(scope, receive, counted)
        finally:
            route = scope.get("path_template", "")
            if route not in QUIET or status >= 400:
                logger.info(
                    "request",
                    method=str(scope.get("method")),
                    route=route,
                    status=status,
                    size=size,
                    milliseconds=round((time.perf_counter() - begun) * 1000, 1),
                )
