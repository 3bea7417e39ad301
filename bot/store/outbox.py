"""The outbox: what is to be said on the forge, written in the transaction of what it is about."""

import uuid
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.leases import nudge
from bot.store.repositories import insert
from models import Notification


async def say_status(
    session: AsyncSession,
    *,
    repository_id: UUID,
    commit: str,
    context: str,
    phase: str,
    text: str,
    now: datetime,
    deployment_id: UUID | None = None,
) -> UUID:
    """Queue a commit status behind those that were said before in its context."""
    last = await session.execute(
        sa.select(sa.func.max(Notification.sequence)).where(
            Notification.kind == "status",
            Notification.repository_id == repository_id,
            Notification.target == commit,
            Notification.context == context,
        )
    )
    row = Notification(
        id=uuid.uuid4(),
        kind="status",
        repository_id=repository_id,
        deployment_id=deployment_id,
        target=commit,
        context=context,
        sequence=(last.scalar_one() or 0) + 1,
        phase=phase,
        text=text,
        due_at=now,
    )
    session.add(row)
    await session.flush()
    return row.id


async def last_said(
    session: AsyncSession, *, repository_id: UUID, commit: str, context: str
) -> tuple[str | None, str | None]:
    """The phase and text of the newest status in a context of a commit."""
    query = (
        sa.select(Notification.phase, Notification.text)
        .where(
            Notification.kind == "status",
            Notification.repository_id == repository_id,
            Notification.target == commit,
            Notification.context == context,
        )
        .order_by(Notification.sequence.desc())
        .limit(1)
    )
    found = (await session.execute(query)).one_or_none()
    return (found.phase, found.text) if found else (None, None)


async def say_comment(session: AsyncSession, *, repository_id: UUID, number: int, now: datetime) -> UUID:
    """Have the one comment of a pull request brought up to date."""
    made = {"kind": "comment", "repository_id": repository_id, "target": str(number), "context": "", "sequence": 0}
    await session.execute(
        insert(session, Notification)
        .values(id=uuid.uuid4(), **made)
        .on_conflict_do_nothing(index_elements=["kind", "repository_id", "target", "context", "sequence"])
    )
    query = sa.select(Notification.id).where(*(getattr(Notification, key) == value for key, value in made.items()))
    found = (await session.execute(query)).scalar_one()
    # The row lives as long as the pull request; patience with the forge begins anew with each thing to say.
    settled = sa.and_(Notification.id == found, Notification.status != "queued")
    await session.execute(sa.update(Notification).where(settled).values(status="queued", created_at=now))
    await nudge(session, Notification, [found], now)
    return found


async def say_reply(session: AsyncSession, *, repository_id: UUID, target: str, run_id: UUID, now: datetime) -> UUID:
    """Have what came of a run said once in a comment of its own: on a commit, or on a request (its number)."""
    made = {"kind": "comment", "repository_id": repository_id, "target": target, "context": str(run_id), "sequence": 0}
    await session.execute(
        insert(session, Notification)
        .values(id=uuid.uuid4(), due_at=now, **made)
        .on_conflict_do_nothing(index_elements=["kind", "repository_id", "target", "context", "sequence"])
    )
    query = sa.select(Notification.id).where(*(getattr(Notification, key) == value for key, value in made.items()))
    return (await session.execute(query)).scalar_one()


async def before(session: AsyncSession, row: Notification) -> UUID | None:
    """The oldest status of the same context that is to be said before this one."""
    return await _first(session, row, Notification.sequence < row.sequence)


async def after(session: AsyncSession, row: Notification) -> UUID | None:
    """The next status of the same context that waits for this one."""
    return await _first(session, row, Notification.sequence > row.sequence)


async def _first(session: AsyncSession, row: Notification, where: sa.ColumnElement[bool]) -> UUID | None:
    query = (
        sa.select(Notification.id)
        .where(
            Notification.kind == row.kind,
            Notification.repository_id == row.repository_id,
            Notification.target == row.target,
            Notification.context == row.context,
            Notification.status == "queued",
            where,
        )
        .order_by(Notification.sequence)
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()
