"""The sandbox API server's refusals, as the Status objects that a real one answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
Cause = tuple[str, str, str]
"""(reason, message, field), as in `details.causes`."""

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class ApiError(Exception):
    """A request that the API server refuses."""

    def __init__(self, code: int, message: str, reason: str | None = None, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, "") if reason is None else reason
        self.details = details

    def status(self) -> Json:
        """The body of the answer."""
        body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


def details(name: str, group: str, kind: str, causes: Sequence[Cause] = ()) -> Json:
    """What a refusal is about."""
    found: Json = {}
    if name:
        found["name"] = name
    if group:
        found["group"] = group
    if kind:
        found["kind"] = kind
    if causes:
        found["causes"] = [
            {"reason": reason, "message": message, **({"field": field} if field else {})}
            for reason, message, field in causes
        ]
    return found


def qualified(plural: str, group: str) -> str:
    """`gitrepositories.source.toolkit.fluxcd.io`, or just `secrets`."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    return ApiError(404, f'{qualified(plural, group)} "{name}" not found', details=details(name, group, plural))


def already_exists(plural: str, group: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, message, "AlreadyExists", details(name, group, plural))


def conflict(resource: str, group: str, name: str, why: str = MODIFIED) -> ApiError:
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, message, details=details(name, group, resource))


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 with every fault named; the text has brackets only when there are several."""
    faults = [f"{field}: {message}" for _, message, field in causes]
    listed = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
    message = f'{qualified(kind, group)} "{name}" is invalid: {listed}'
    return ApiError(422, message, details=details(name, group, kind, causes))


def terminating(plural: str, group: str, name: str, namespace: str) -> ApiError:
    cause = ("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
    message = (
        f'{qualified(plural, group)} "{name}" is forbidden: '
        f"unable to create new content in namespace {namespace} because it is being terminated"
    )
    return ApiError(403, message, details=details(name, group, plural, [cause]))


def apply_conflict(found: Sequence[tuple[str, str]]) -> ApiError:
    """Fields that other managers own: (manager as it is shown, field)."""
    causes = [("FieldManagerConflict", f"conflict with {manager}", field) for manager, field in found]
    if len(found) == 1:
        message = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        lines: list[str] = []
        for manager in sorted({manager for manager, _ in found}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {field}" for owner, field in found if owner == manager]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return ApiError(409, message, details=details("", "", "", causes))


def injected(code: int) -> ApiError:
    """What a server in trouble says; used by the tests' `fail_next`."""
    texts = {
        429: "too many requests, please try again later.",
        500: "Internal error occurred: the sandbox was told to fail",
        503: "the server is currently unable to handle the request",
        504: "Timeout: request did not complete within requested timeout",
    }
    found = {"retryAfterSeconds": 1} if code in (429, 503, 504) else None
    return ApiError(code, texts.get(code, "the sandbox was told to fail"), details=found)
