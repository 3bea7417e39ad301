"""Holds: an environment stays at what it has until somebody resumes it."""

import uuid
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store import locks, log
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Deployment, Hold


async def live(session: AsyncSession, environment_id: UUID) -> Hold | None:
    """What holds an environment now."""
    query = sa.select(Hold).where(Hold.environment_id == environment_id, Hold.ended_at.is_(None))
    return (await session.execute(query)).scalar_one_or_none()


async def set_(tx: Transaction, where: Place, deployment: Deployment, *, by: str, reason: str | None) -> Hold:
    """Hold an environment at a deployment; one that is held already is held at this one from now on."""
    hold = await live(tx.session, where.environment.id)
    if hold is None:
        hold = Hold(id=uuid.uuid4(), environment_id=where.environment.id)
        tx.session.add(hold)
    elif hold.deployment_id == deployment.id:
        return hold
    hold.set_by, hold.reason, hold.deployment_id = by, reason, deployment.id
    hold.pull_request = deployment.pull_request
    await tx.session.flush()
    _log(tx, where, hold, "hold.set", by)
    return hold


async def end(tx: Transaction, where: Place, hold: Hold, *, by: str) -> None:
    """Deployments may come in again."""
    hold.ended_at, hold.ended_by = tx.now, by
    await tx.session.flush()
    _log(tx, where, hold, "hold.ended", by)
    await locks.ring_waiting(tx, where.environment.id)


def _log(tx: Transaction, where: Place, hold: Hold, action: str, by: str) -> None:
    log.audit(
        tx.session,
        action,
        where.project,
        where.environment,
        actor=by,
        resource=("hold", hold.id),
        reason=hold.reason,
        deployment=str(hold.deployment_id),
    )
