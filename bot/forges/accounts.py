"""What GitHub and Gitea answer alike of accounts, tokens and deploy keys."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from bot.core.ports import Account, DeployKey
from bot.forges import Id, clean

EXPIRY = "github-authentication-token-expiration"


class AccountAnswer(msgspec.Struct):
    """An account as it sees itself."""

    id: Id
    login: str
    name: str | None = None
    full_name: str | None = None
    email: str | None = None
    avatar_url: str | None = None

    def account(self) -> Account:
        """In our words."""
        texts = [clean(text) if text else None for text in (self.name or self.full_name, self.email, self.avatar_url)]
        return Account(id=str(self.id), login=clean(self.login), name=texts[0], email=texts[1], avatar_url=texts[2])


class KeyAnswer(msgspec.Struct):
    """A deploy key."""

    id: Id
    key: str
    read_only: bool = False

    def deploy_key(self) -> DeployKey:
        """In our words; the comment behind the key is anybody's."""
        return DeployKey(id=str(self.id), key=" ".join(self.key.split()[:2]), read_only=self.read_only)


def token_expiry(headers: Mapping[str, str]) -> datetime | None:
    """Until when the token of a call works, where the forge says so."""
    text = headers.get(EXPIRY, "")
    text = text.removesuffix("UTC") + "+0000" if text.endswith("UTC") else text
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").astimezone(UTC)
    except ValueError:
        return None
