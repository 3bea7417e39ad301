"""Accounts that are connected by OAuth: the way there, and tokens that are renewed before they end."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog

from bot.core.access import OAuthProvider, Tokens
from bot.core.errors import TemporaryError, UserError
from bot.core.ports import Forge
from bot.core.sealing import Keyring
from bot.store import connections, leases, log
from bot.store.transactions import Store
from models import GitPlatformConnection

# Longer than a refresh can take: while one worker may still be sending a refresh token, no other one sends it again.
REFRESH_LEASE = timedelta(seconds=90)
EARLY = timedelta(minutes=5)  # an access token is not used for so long before its end
logger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Connections:
    """The connected accounts of the forges that have an OAuth application."""

    store: Store
    keys: Keyring
    providers: Mapping[str, OAuthProvider]
    forges: Mapping[str, Forge]
    as_token: Callable[[str, str], Forge]
    public_url: str | None
    _flights: dict[UUID, asyncio.Lock] = field(default_factory=dict)

    async def close(self) -> None:
        """Give the HTTP connections back."""
        for provider in self.providers.values():
            await provider.close()

    def provider(self, forge: str) -> OAuthProvider:
        """The OAuth application of a forge; UserError where the operator set none up."""
        if forge not in self.providers or self.public_url is None:
            name = forge.upper()
            raise UserError(
                "oauth_not_configured",
                f"accounts of {forge} cannot be connected: the operator sets SLUICE_{name}_OAUTH_CLIENT_ID, "
                f"SLUICE_{name}_OAUTH_CLIENT_SECRET and SLUICE_PUBLIC_URL",
            )
        return self.providers[forge]

    def start_url(self, forge: str) -> str:
        """Where somebody connects an account, or connects it again."""
        return f"{self.public_url}/connections/{forge}/start"

    def callback_url(self, forge: str) -> str:
        """Where the forge sends them back to."""
        return f"{self.public_url}/connections/{forge}/callback"

    async def finish(
        self, forge: str, code: str, verifier: str, *, ip: str | None = None, user_agent: str | None = None
    ) -> GitPlatformConnection:
        """Exchange the code and keep what it gave, sealed; the log says from where a browser brought it."""
        provider = self.provider(forge)
        tokens = await provider.exchange(code, verifier, self.callback_url(forge))
        adapter = self.as_token(forge, tokens.access)
        try:
            account = await adapter.account()
        finally:
            await adapter.close()
        own = account.login.lower() == (await self.forges[forge].own_login()).lower()
        async with self.store.write() as tx:
            row = await connections.connected(tx, self.keys, forge, provider.server_url, account, tokens, own=own)
            log.record(
                tx.session,
                "connection.connected",
                event_type="audit",
                actor=account.login,
                user_id=row.user_id,
                ip=ip,
                user_agent=user_agent,
                resource=("connection", row.id),
                forge=forge,
            )
        return row

    async def best(self, forge: str) -> GitPlatformConnection:
        """The connection to use for a forge when nobody chose one; UserError that says where to connect."""
        provider = self.provider(forge)
        async with self.store.read() as session:
            found = await connections.of_forge(session, forge, provider.server_url)
        if not found:
            raise UserError("connection_missing", f"no account of {forge} is connected: open {self.start_url(forge)}")
        return found[0]

    async def access_token(self, id: UUID) -> str:
        """A token that works for some minutes at least; UserError `connection_expired` when it has to be asked for."""
        async with self._flights.setdefault(id, asyncio.Lock()):
            row = await self._row(id)
            if not self._ending(row):
                return self._open(row, "access_token_sealed")
            return await self._refresh(row)

    async def _refresh(self, row: GitPlatformConnection) -> str:
        """Spend the refresh token, once, whoever else would like to."""
        name, owner = f"connection:{row.id}", secrets.token_hex(8)
        async with self.store.write() as tx:
            if not await leases.take_name(tx.session, name, owner, tx.now, REFRESH_LEASE):
                raise TemporaryError("another worker refreshes the connection", delay=2.0)
        try:
            row = await self._row(row.id)  # as it is under the lease: it may have been refreshed meanwhile
            return await self._spend(row) if self._ending(row) else self._open(row, "access_token_sealed")
        finally:
            async with self.store.write() as tx:
                await leases.drop_name(tx.session, name, owner, tx.now)

    async def _spend(self, row: GitPlatformConnection) -> str:
        if row.refresh_token_sealed is None:
            raise await self._expired(row, "it has no refresh token")
        spent = row.refresh_token_sealed
        try:
            tokens = await self.provider(row.provider).refresh(self._open(row, "refresh_token_sealed"))
        except UserError as error:
            if error.code != "oauth_refused":
                raise
            raise await self._expired(row, error.message) from None
        await self._keep(row, spent, tokens)
        return tokens.access

    async def _keep(self, row: GitPlatformConnection, spent: str, tokens: Tokens) -> None:
        async with self.store.write() as tx:
            now = await tx.session.get_one(GitPlatformConnection, row.id, with_for_update=True)
            if now.refresh_token_sealed == spent or self._same(now, row):
                connections.put_tokens(now, self.keys, tokens, tx.now)
                now.last_sync_at = tx.now

    def _same(self, now: GitPlatformConnection, then: GitPlatformConnection) -> bool:
        """Whether it is the token that was spent, sealed anew by a rotation of keys."""
        return self._open(now, "refresh_token_sealed") == self._open(then, "refresh_token_sealed")

    async def _expired(self, row: GitPlatformConnection, why: str) -> UserError:
        """Write down that the account has to be connected again; the error that says where."""
        async with self.store.write() as tx:
            now = await tx.session.get_one(GitPlatformConnection, row.id, with_for_update=True)
            if now.status == "active" and now.connected_at == row.connected_at:
                now.status, now.details = "expired", {**now.details, "why": why}
                log.record(
                    tx.session,
                    "connection.expired",
                    severity="warning",
                    resource=("connection", row.id),
                    forge=row.provider,
                    account=row.username,
                    why=why,
                )
        return self._asked_again(row)

    def _asked_again(self, row: GitPlatformConnection) -> UserError:
        where = self.start_url(row.provider)
        text = f"the connection of {row.username} to {row.provider} has expired; connect it again at {where}"
        return UserError("connection_expired", text)

    async def _row(self, id: UUID) -> GitPlatformConnection:
        async with self.store.read() as session:
            row = await session.get_one(GitPlatformConnection, id)
        if row.status != "active":
            raise self._asked_again(row)
        return row

    def _ending(self, row: GitPlatformConnection) -> bool:
        return row.expires_at is not None and row.expires_at - self.store.clock() < EARLY

    def _open(self, row: GitPlatformConnection, column: str) -> str:
        sealed = getattr(row, column)
        return self.keys.open(sealed or "", table=connections.TABLE, row=row.id, column=column)
