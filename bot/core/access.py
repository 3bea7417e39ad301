"""What Flux fetches with: the parts of it, addresses for SSH, and when it is to be renewed."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

WARN_BEFORE = timedelta(days=7)  # how long before its end a token that nobody renews by itself is spoken of
LOOK_AGAIN = timedelta(days=1)  # how often what does not expire is tried
SOONEST_RETRY, LATEST_RETRY = timedelta(seconds=30), timedelta(minutes=10)
APP_USERNAME = "x-access-token"


class GitAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How Flux gets at a repository: the address, and what goes into the Secret beside the source.

    `short_lived` is what Sluice renews by itself. Its repr shows nothing of the Secret.
    """

    kind: str
    url: str
    secret: Mapping[str, str]
    said: str
    expires_at: datetime | None = None
    short_lived: bool = False

    def __repr__(self) -> str:
        return f"GitAccess(kind={self.kind!r}, url={self.url!r})"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A token of an App and its life. Its repr never shows the token."""

    token: str
    installation_id: str
    issued_at: datetime
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Issued(expires_at={self.expires_at.isoformat()})"

    @property
    def half_life(self) -> datetime:
        """When it is to be renewed."""
        return self.issued_at + (self.expires_at - self.issued_at) / 2


class Issuer(Protocol):
    """An App that issues tokens for one repository each, read-only."""

    app_id: str

    async def token(self, repository: str) -> Issued: ...
    async def close(self) -> None: ...


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What OAuth gave. Its repr shows no token. `expires_in` is in seconds; None: it does not expire."""

    access: str
    refresh: str | None
    expires_in: int | None

    def __repr__(self) -> str:
        return f"Tokens(expires_in={self.expires_in})"


class OAuthProvider(Protocol):
    """One OAuth application at one forge. A refusal raises UserError `oauth_refused`."""

    server_url: str

    def authorize_url(self, state: str, verifier: str, redirect_uri: str) -> str: ...
    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> Tokens: ...
    async def refresh(self, token: str) -> Tokens: ...
    async def close(self) -> None: ...


def ssh_url(clone_url: str, base: str | None) -> str:
    """Where a deploy key fetches: on the same host, port 22, unless the operator named another `base`."""
    parts = urlsplit(clone_url)
    return f"{base or f'ssh://git@{parts.hostname}'}/{parts.path.strip('/')}"


def known_hosts(url: str, keys: Sequence[str]) -> str:
    """Lines of known_hosts that tie the server of an SSH address to its keys."""
    parts = urlsplit(url)
    host = parts.hostname if parts.port in (None, 22) else f"[{parts.hostname}]:{parts.port}"
    return "".join(f"{host} {key}\n" for key in keys)


def fingerprint(public_key: str) -> str:
    """How SSH names a key, by its line of authorized_keys."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def renewal(access: GitAccess, now: datetime) -> datetime:
    """When to renew or try it next: at half of what is left of its life, where Sluice can renew it."""
    if access.short_lived and access.expires_at is not None:
        return now + (access.expires_at - now) / 2
    return now + LOOK_AGAIN


def retry(expires_at: datetime | None, now: datetime) -> datetime:
    """When to try again after a failure: often enough that several tries come before the end."""
    left = (expires_at - now) / 4 if expires_at is not None else LATEST_RETRY
    return now + min(max(left, SOONEST_RETRY), LATEST_RETRY)


def expiring(access: GitAccess, now: datetime) -> bool:
    """Whether somebody has to see to it soon."""
    return access.expires_at is not None and not access.short_lived and access.expires_at - now < WARN_BEFORE
