"""The GitHub App: tokens for one repository each, which can do what was asked for and nothing else."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import jwt
import msgspec

from bot.core.access import Issued
from bot.core.errors import UserError
from bot.forges import Id, full_name_path
from bot.forges.github import connect
from bot.http import Client

RIGHTS: Mapping[str, str] = {"contents": "read"}
GIVEN_ANYWAY = {"metadata": "read"}  # GitHub adds it to every token
BACKDATED = 60.0  # seconds: their clock may be behind ours
LONGEST = 540.0  # seconds; GitHub takes no request that is signed for more than 600


class _Installation(msgspec.Struct):
    id: Id


class _Repo(msgspec.Struct):
    full_name: str


class Registered(msgspec.Struct, frozen=True):
    """What the App was registered with: its rights by their names, and the events that it is told."""

    permissions: dict[str, str] = {}
    events: list[str] = []


class _Token(msgspec.Struct):
    token: str
    expires_at: datetime
    permissions: dict[str, str] = {}
    repositories: list[_Repo] | None = None


class GitHubApp:
    """Issues tokens as the App; its key signs requests here and goes nowhere.

    Tokens are kept until half of their life is over; callers that want the same one at once wait for one request.
    `clock` (seconds since 1970) is there to be replaced in tests.
    """

    def __init__(
        self,
        url: str | None,
        app_id: str,
        private_key: str,
        *,
        rights: Mapping[str, str] = RIGHTS,
        client: Client | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app_id = app_id
        self._key = private_key
        self._rights = dict(rights)
        self._http = client or connect(url, None)
        self._clock = clock
        self._issued: dict[str, Issued] = {}
        self._flights: dict[str, asyncio.Lock] = {}

    def __repr__(self) -> str:
        return f"GitHubApp({self.app_id!r})"

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.close()

    async def token(self, repository: str) -> Issued:
        """A token for this repository; UserError when the App may not."""
        async with self._flights.setdefault(repository, asyncio.Lock()):
            known = self._issued.get(repository)
            if known is None or self._now() >= known.half_life:
                known = self._issued[repository] = await self._issue(repository)
            return known

    async def registered(self) -> Registered:
        """What GitHub says of the App; BotError when it does not know the key, or cannot be reached."""
        answer = await self._http.request("GET", "/app", authorization=self._signed())
        return answer.checked().read(Registered)

    def forget(self, repository: str) -> None:
        """Ask for a new token next time: the forge refused this one."""
        self._issued.pop(repository, None)

    async def _issue(self, repository: str) -> Issued:
        installation = await self._installation(repository)
        path = f"/app/installations/{installation}/access_tokens"
        wish = {"repositories": [repository.partition("/")[2]], "permissions": self._rights}
        now = self._now()
        answer = await self._http.request("POST", path, body=wish, repeatable=True, authorization=self._signed())
        made = answer.checked().read(_Token)
        self._check(made, repository)
        return Issued(
            token=made.token,
            installation_id=str(installation),
            issued_at=now,
            expires_at=made.expires_at.astimezone(UTC),
        )

    async def _installation(self, repository: str) -> int:
        path = f"/repos/{full_name_path(repository)}/installation"
        answer = await self._http.request("GET", path, authorization=self._signed())
        if answer.status == 404:
            raise UserError(
                "app_not_installed",
                f"the GitHub App {self.app_id} is not installed on {repository}; its owner installs it",
            )
        return answer.checked().read(_Installation).id

    def _check(self, made: _Token, repository: str) -> None:
        """A token that can do more than was asked for is not used."""
        rights = {name: right for name, right in made.permissions.items() if GIVEN_ANYWAY.get(name) != right}
        others = [each.full_name for each in made.repositories or [] if each.full_name.lower() != repository.lower()]
        if rights != self._rights or others or not made.repositories:
            wanted = " and ".join(f"{name}: {right}" for name, right in self._rights.items())
            raise UserError(
                "token_too_wide", f"GitHub gave the App {self.app_id} a token for more than {wanted} of {repository}"
            )

    def _signed(self) -> str:
        now = self._clock()
        claims = {"iat": int(now - BACKDATED), "exp": int(now + LONGEST), "iss": self.app_id}
        return f"Bearer {jwt.encode(claims, self._key, algorithm='RS256')}"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
