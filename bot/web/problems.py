"""Errors over HTTP: RFC 9457 problem details with the reason code."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from bot import log

MEDIA_TYPE = "application/problem+json"
CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "media_type_unsupported",
    429: "too_many_requests",
}

logger = log.get(__name__)


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong; `code` is the stable reason code."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


class Problem(Exception):
    """Answers the request with problem details. `close` ends the connection: the body was not read to its end."""

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after: int | None = None, close: bool = False
    ) -> None:
        super().__init__(detail)
        self.details = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code)
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["retry-after"] = str(retry_after)
        if close:
            self.headers["connection"] = "close"


def answer(details: ProblemDetails, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """The response that says it."""
    return Response(
        msgspec.json.encode(details), status_code=details.status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    """Answer what was raised on purpose."""
    return answer(error.details, error.headers)


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refused."""
    status = error.status_code
    if status >= 500:
        return on_unexpected(request, error)
    phrase = HTTPStatus(status).phrase
    details = ProblemDetails(
        title=phrase, status=status, detail=error.detail or phrase, code=CODES.get(status, "request_refused")
    )
    return answer(details, error.headers)


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a bug: the log has all of it, the outside nothing."""
    logger.error("unexpected error", method=request.method, exc_info=error)
    details = ProblemDetails(
        title="Internal Server Error",
        status=500,
        detail="an unexpected error; the server's log has it",
        code="internal",
    )
    return answer(details)


HANDLERS: Any = {Problem: on_problem, HTTPException: on_http, Exception: on_unexpected}

__all__ = ["HANDLERS", "Problem", "ProblemDetails", "answer"]
