"""Leases: one worker at a time on a row, and no ring lost."""

import secrets
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.repositories import insert
from models import Lease
from models.base import Leased, UtcDateTime

LEASE = timedelta(seconds=15)


Table = TypeVar("Table", bound=Leased)


async def take(
    session: AsyncSession, table: type[Table], id: UUID, statuses: Collection[str], now: datetime
) -> Table | None:
    """Lease a row in one of `statuses` that nobody holds; None if there is none. Counts the attempt."""
    taken = await session.execute(
        sa.update(table)
        .where(table.id == id, table.status.in_(statuses))
        .where(sa.or_(table.lease_until.is_(None), table.lease_until <= now))
        .values(
            lease_owner=secrets.token_hex(8),
            lease_until=now + LEASE,
            due_at=now + LEASE,
            attempts=table.attempts + 1,
            updated_at=now,
        )
        .returning(table)
    )
    return taken.scalar_one_or_none()


async def renew(session: AsyncSession, row: Leased, now: datetime) -> bool:
    """Hold a row longer; False if it was lost."""
    table = type(row)
    renewed = await session.execute(
        sa.update(table)
        .where(table.id == row.id, table.lease_owner == row.lease_owner)
        .values(lease_until=now + LEASE, due_at=now + LEASE)
        .returning(table.id)
    )
    return renewed.scalar_one_or_none() is not None


async def owned(session: AsyncSession, row: Table) -> Table | None:
    """The row as it is now, for writing in this transaction, if the lease is still ours."""
    table = type(row)
    found = await session.execute(
        sa.select(table)
        .where(table.id == row.id, table.lease_owner == row.lease_owner)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return found.scalar_one_or_none()


async def release(
    session: AsyncSession, row: Leased, now: datetime, due_at: datetime | None, *, failed: bool = False
) -> bool:
    """Let go of a row; True if somebody rang for it since it was taken, so that it wants another look.

    `attempts` counts the takes since the last one that ended in order, so a row that kills its workers shows.
    """
    table = type(row)
    released = await session.execute(
        sa.update(table)
        .where(table.id == row.id, table.lease_owner == row.lease_owner)
        .values(
            lease_owner=None,
            lease_until=None,
            attempts=table.attempts if failed else 0,
            due_at=sa.case((table.nudged == row.nudged, sa.bindparam("due_at", due_at, UtcDateTime())), else_=now),
        )
        .returning(table.nudged)
    )
    nudged = released.scalar_one_or_none()
    return nudged is not None and nudged != row.nudged


async def take_from_the_dead(
    session: AsyncSession, table: type[Leased], statuses: Collection[str], now: datetime
) -> None:
    """Let go of all rows, which are due then: only for whoever knows that nobody works on any."""
    held = sa.update(table).where(table.status.in_(statuses), table.due_at <= now + LEASE)
    free = {"lease_owner": None, "lease_until": None, "due_at": now}
    await session.execute(held.where(table.lease_owner.is_not(None)).values(free))


async def take_name(session: AsyncSession, name: str, owner: str, now: datetime, life: timedelta = LEASE) -> bool:
    """Take or renew the lease on a kind of work; False while somebody else has it.

    Its row stays locked until the transaction ends, so that what is written there is written by the one owner.
    """
    values = {"owner": owner, "until": now + life}
    statement = insert(session, Lease).values(id=uuid.uuid4(), name=name, **values)
    free = sa.or_(Lease.owner == owner, Lease.until <= now)
    taken = await session.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_=values, where=free).returning(Lease.id)
    )
    return taken.first() is not None


async def drop_name(session: AsyncSession, name: str, owner: str, now: datetime) -> None:
    """Let go of such a lease, if it is ours."""
    ours = sa.update(Lease).where(Lease.name == name, Lease.owner == owner)
    await session.execute(ours.values(until=now))


async def clear_names(session: AsyncSession, prefix: str, now: datetime) -> None:
    """Forget leases that nobody will ask for again."""
    await session.execute(sa.delete(Lease).where(Lease.name.startswith(prefix, autoescape=True), Lease.until <= now))


async def nudge(session: AsyncSession, table: type[Table], ids: Collection[UUID], now: datetime) -> None:
    """Note a ring for rows, in the transaction of what it is about; ring the bell after the commit."""
    if ids:
        await session.execute(
            sa.update(table).where(table.id.in_(ids)).values(nudged=table.nudged + 1, due_at=now, updated_at=now)
        )


async def due(session: AsyncSession, table: type[Table], statuses: Collection[str], now: datetime) -> list[UUID]:
    """Rows that wait for somebody: due, and held by nobody."""
    found = await session.execute(
        sa.select(table.id)
        .where(table.status.in_(statuses), table.due_at <= now)
        .where(sa.or_(table.lease_until.is_(None), table.lease_until <= now))
        .order_by(table.due_at)
        .limit(500)
    )
    return list(found.scalars())
