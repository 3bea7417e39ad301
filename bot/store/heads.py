"""The ledger of heads: what was known of a branch or pull request before a given moment."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from models import Head


async def record(
    session: AsyncSession,
    repository_id: UUID,
    kind: str,
    name: str,
    commit: str | None,
    *,
    actor: str,
    received_at: datetime,
    delivery_id: UUID | None = None,
    actor_id: str | None = None,
) -> bool:
    """Add what was heard; False if it is no news. A head read from the API is recorded only where it is."""
    news = await newest(session, repository_id, kind, name) != commit
    if delivery_id is None and not news:
        return False
    session.add(
        Head(
            repository_id=repository_id,
            delivery_id=delivery_id,
            kind=kind,
            name=name,
            commit_hash=commit,
            actor=actor,
            actor_id=actor_id,
            received_at=received_at,
        )
    )
    return news


async def newest(
    session: AsyncSession, repository_id: UUID, kind: str, name: str, *, before: datetime | None = None
) -> str | None:
    """The newest head known (before a moment); None if there is none or it was deleted."""
    query = (
        sa.select(Head.commit_hash)
        .where(Head.repository_id == repository_id, Head.kind == kind, Head.name == name)
        .order_by(Head.received_at.desc(), Head.created_at.desc())
        .limit(1)
    )
    if before is not None:
        query = query.where(Head.received_at < before)
    return (await session.execute(query)).scalar_one_or_none()


async def pushers(session: AsyncSession, repository_id: UUID, number: int) -> set[str]:
    """The accounts that gave a pull request another head, as far as deliveries told it."""
    query = (
        sa.select(Head.commit_hash, Head.actor_id)
        .where(Head.repository_id == repository_id, Head.kind == "pull_request", Head.name == str(number))
        .where(Head.actor_id.is_not(None))
        .order_by(Head.received_at, Head.created_at)
    )
    found: set[str] = set()
    before = None
    for commit, actor_id in (await session.execute(query)).all():
        if commit != before and actor_id is not None:
            found.add(actor_id)
        before = commit
    return found
