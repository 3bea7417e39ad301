"""Checks the signatures of webhooks: HMAC-SHA256 over the raw bytes, compared in constant time."""

import hashlib
import hmac
import re
from collections.abc import Sequence

PREFIXED = "sha256="
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")


def signed(body: bytes, given: str | None, secrets: Sequence[bytes], *, prefix: str = PREFIXED) -> bool:
    """Whether `given` is `prefix` and the 64 hex digits of the HMAC-SHA256 of `body` under one of `secrets`.

    Anything else is False and never an error: no header, two values, SHA-1, other letters, a wrong length. An empty
    secret signs nothing. All secrets are tried, so the time does not tell which one fits.
    """
    if given is None or not given.startswith(prefix):
        return False
    digits = given[len(prefix) :]
    if not _HEX.match(digits):
        return False
    theirs = digits.lower().encode("ascii")
    fits = False
    for secret in secrets:
        ours = hmac.new(secret, body, hashlib.sha256).hexdigest().encode("ascii")
        fits |= hmac.compare_digest(ours, theirs) and bool(secret)
    return fits


def sign(body: bytes, secret: bytes, *, prefix: str = PREFIXED) -> str:
    """The signature that `signed` accepts; for sandboxes and tests, which send what a forge would."""
    return prefix + hmac.new(secret, body, hashlib.sha256).hexdigest()
