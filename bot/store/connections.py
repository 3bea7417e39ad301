"""Connected accounts: who they are, and their sealed tokens."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.access import Tokens
from bot.core.ports import Account
from bot.core.sealing import Keyring
from bot.store.transactions import Transaction
from models import GitPlatformConnection, User

TABLE = GitPlatformConnection.__tablename__
CLOUD = ("https://github.com",)


async def connected(
    tx: Transaction, keys: Keyring, forge: str, server_url: str, account: Account, tokens: Tokens, *, own: bool
) -> GitPlatformConnection:
    """The connection of an account, new or again; `own` is Sluice's own account, which is nobody's."""
    user = None if own else await _person(tx, forge, account)
    query = sa.select(GitPlatformConnection).where(
        GitPlatformConnection.provider == forge,
        GitPlatformConnection.server_url == server_url,
        GitPlatformConnection.provider_account_id == account.id,
    )
    row = (await tx.session.execute(query.with_for_update())).scalar_one_or_none()
    if row is None:
        row = GitPlatformConnection(id=uuid.uuid4(), provider=forge, server_url=server_url)
        row.provider_account_id, row.server_type = account.id, "cloud" if server_url in CLOUD else "self-hosted"
        tx.session.add(row)
    row.user_id, row.purpose = user.id if user else None, "integration"
    row.username, row.email, row.avatar_url = account.login, account.email, account.avatar_url
    row.connected_at = row.last_sync_at = tx.now
    row.details = {}
    put_tokens(row, keys, tokens, tx.now)
    await tx.session.flush()
    return row


def put_tokens(row: GitPlatformConnection, keys: Keyring, tokens: Tokens, now: datetime) -> None:
    """The tokens that a connection has from now on; one without a new refresh token keeps the old one."""
    row.access_token_sealed = keys.seal(tokens.access, table=TABLE, row=row.id, column="access_token_sealed")
    if tokens.refresh is not None:
        row.refresh_token_sealed = keys.seal(tokens.refresh, table=TABLE, row=row.id, column="refresh_token_sealed")
    row.expires_at = now + timedelta(seconds=tokens.expires_in) if tokens.expires_in else None
    row.status = "active"


async def _person(tx: Transaction, forge: str, account: Account) -> User:
    query = sa.select(User).where(User.provider == forge, User.provider_account_id == account.id)
    user = (await tx.session.execute(query)).scalar_one_or_none()
    if user is None:
        user = User(id=uuid.uuid4(), provider=forge, provider_account_id=account.id)
        tx.session.add(user)
    user.username, user.display_name, user.email = account.login, account.name, account.email
    user.avatar_url, user.last_seen_at = account.avatar_url, tx.now
    await tx.session.flush()
    return user


async def of_forge(session: AsyncSession, forge: str, server_url: str) -> Sequence[GitPlatformConnection]:
    """The connections to a server that can be used, Sluice's own account first, then the newest."""
    query = (
        sa.select(GitPlatformConnection)
        .where(
            GitPlatformConnection.provider == forge,
            GitPlatformConnection.server_url == server_url,
            GitPlatformConnection.status == "active",
        )
        .order_by(GitPlatformConnection.user_id.is_not(None), GitPlatformConnection.connected_at.desc())
    )
    return (await session.execute(query)).scalars().all()


async def expired(session: AsyncSession) -> Sequence[GitPlatformConnection]:
    """The connections that have to be made again."""
    query = sa.select(GitPlatformConnection).where(GitPlatformConnection.status == "expired")
    return (await session.execute(query.order_by(GitPlatformConnection.username))).scalars().all()
