"""The event log's chain: each row's hash covers what the row says and the hash of the row before it."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

FORM = 1  # of what is hashed; another one would need another number
START = "0" * 64  # what the first row of all follows

# What a row says. Not in it: `user_id`, which ends with the person's account (`actor` stays), and `updated_at`.
COLUMNS = (
    "id",
    "created_at",
    "event_type",
    "action",
    "severity",
    "actor",
    "organization_id",
    "resource_type",
    "resource_id",
    "details",
    "ip",
    "user_agent",
)


def link(previous: str, sequence: int, row: Mapping[Any, Any]) -> str:
    """The hash of a row at its place: SHA-256, in hex."""
    said = [FORM, previous, sequence, *(_plain(row[name]) for name in COLUMNS)]
    # ASCII and sorted keys: whatever a database gave back as JSON is encoded in exactly one way, and never fails.
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def statement(sequence: int, hash: str, purged_until: datetime | None) -> bytes:
    """What a checkpoint's signature is about."""
    return json.dumps(["sluice event log", FORM, sequence, hash, _plain(purged_until)]).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value) if isinstance(value, UUID) else value
