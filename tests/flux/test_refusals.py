"""What an API server's answer of 400 or more becomes, in its real words."""

import json
from typing import Any

import pytest

from bot.core.errors import BotError, FieldConflict, StaleObject, TemporaryError, UserError
from bot.flux.connection import Expired, NotFound, refusal

SECRET = {"kind": "Secret", "data": {"password": "Z2VoZWlt"}, "stringData": {"username": "klartext"}}
CONFLICT = 'Apply failed with 1 conflict: conflict with "flux" using source.toolkit.fluxcd.io/v1: .spec.interval'
GATE = (
    "ValidatingAdmissionPolicy 'sluice-gate' with binding 'sluice-gate' denied request: DELETE of GitRepository "
    "project-abcd1234/production by dave: this object belongs to Sluice"
)


def status(code: int, message: str, reason: str = "", **details: Any) -> bytes:
    return json.dumps(
        {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
    ).encode()


def of(code: int, message: str, reason: str = "", body: dict[str, Any] | None = None, **details: Any) -> BotError:
    return refusal(code, status(code, message, reason, **details), body)


def test_a_field_conflict_names_manager_and_field() -> None:
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "flux" using source.toolkit.fluxcd.io/v1',
        "field": ".spec.interval",
    }
    error = of(409, CONFLICT, "Conflict", kind="gitrepositories", name="branch-main", causes=[cause])
    assert isinstance(error, UserError)
    assert isinstance(error, FieldConflict)
    assert error.code == "field_conflict"
    assert error.fields == (".spec.interval of flux",)
    assert error.message == (
        "gitrepositories branch-main has fields that another manager holds: "
        '.spec.interval (conflict with "flux" using source.toolkit.fluxcd.io/v1)'
    )


@pytest.mark.parametrize(
    "error",
    [
        of(409, "the object has been modified; please apply your changes to the latest version and try again"),
        of(409, "uid mismatch: the provided object specified uid a, and no existing object was found"),
        of(409, "Precondition failed: UID in precondition: a, UID in object meta: b"),
        of(409, 'namespaces "x" already exists', "AlreadyExists"),
        of(422, "metadata.uid: Invalid value: field is immutable", "Invalid", causes=[{"field": "metadata.uid"}]),
    ],
    ids=lambda error: str(error)[:20],
)
def test_not_the_object_that_was_read(error: BotError) -> None:
    assert isinstance(error, StaleObject)


@pytest.mark.parametrize("code", [401, 403])
def test_refused_in_the_servers_words(code: int) -> None:
    error = of(code, GATE, "Forbidden")
    assert isinstance(error, UserError)
    assert error.code == "cluster_refused"
    assert GATE in error.message


def test_a_schema_without_the_field_is_no_trouble_that_passes() -> None:
    error = of(500, "failed to create typed patch object: .spec.deletionPolicy: field not declared in schema")
    assert isinstance(error, UserError)
    assert "deletionPolicy" in error.message


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_trouble_that_passes(code: int) -> None:
    assert isinstance(of(code, "later"), TemporaryError)


def test_the_servers_pause_is_kept() -> None:
    error = of(429, "too many requests", retryAfterSeconds=30)
    assert isinstance(error, TemporaryError)
    assert error.delay == 30.0


def test_not_found() -> None:
    error = of(404, 'gitrepositories "x" not found', "NotFound", name="x", kind="gitrepositories")
    assert isinstance(error, NotFound)
    assert error.known_kind
    for raw in (b"404 page not found\n", status(404, "the server could not find the requested resource")):
        error = refusal(404, raw, None)
        assert isinstance(error, NotFound)
        assert not error.known_kind


def test_expired() -> None:
    assert isinstance(of(410, "too old resource version: 1 (2)", "Expired"), Expired)


@pytest.mark.parametrize("raw", [b"", b"<html>bad gateway</html>", b"[]", b"\xff\xfe", b"null"])
def test_answers_that_are_no_status(raw: bytes) -> None:
    assert isinstance(refusal(502, raw, None), TemporaryError)
    assert isinstance(refusal(403, raw, None), UserError)


@pytest.mark.parametrize("code", [400, 403, 422, 429, 500])
@pytest.mark.parametrize("value", ["Z2VoZWlt", "geheim", "klartext"])
def test_a_secrets_values_are_masked(code: int, value: str) -> None:
    error = of(code, f'denied: data "{value}"', "Invalid", SECRET, causes=[{"field": "data[password]"}])
    assert value not in str(error)


def test_of_a_secret_the_fields_are_told() -> None:
    error = of(422, 'data[password]: Invalid value: "geheim"', "Invalid", SECRET, causes=[{"field": "data[password]"}])
    assert "data[password]" in str(error)
