"""Locks: one owner at a time, the others in line behind, in the order in which they asked."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.deployments import Phase
from bot.core.keeping import freed_call, same_person, turn_call
from bot.store import deployments, leases, log, runs
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Deployment, Environment, Lock, Project

HELD, WAITING, RELEASED, EXPIRED = "held", "waiting", "released", "expired"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Somebody wants an environment for themselves; without `span` until it is given back."""

    owner: str
    owner_id: str = ""
    pull_request: int | None = None
    reason: str | None = None
    span: timedelta | None = None


# Questions.


async def held(session: AsyncSession, environment_id: UUID, now: datetime) -> Lock | None:
    """The lock that keeps others out now; one that has run out keeps nobody out, whether it was cleared away or not."""
    query = sa.select(Lock).where(Lock.environment_id == environment_id, Lock.status == HELD)
    lock = (await session.execute(query)).scalar_one_or_none()
    return None if lock is None or _is_over(lock, now) else lock


async def line(session: AsyncSession, environment_id: UUID) -> Sequence[Lock]:
    """Those who wait for an environment, the next one first."""
    query = sa.select(Lock).where(Lock.environment_id == environment_id, Lock.status == WAITING)
    return (await session.execute(query.order_by(Lock.position))).scalars().all()


async def of_person(session: AsyncSession, environment_id: UUID, login: str, id: str) -> Lock | None:
    """What somebody has of an environment: the lock itself, or a place in line."""
    query = sa.select(Lock).where(Lock.environment_id == environment_id, Lock.status.in_((HELD, WAITING)))
    found = (await session.execute(query)).scalars()
    return next((each for each in found if same_person(login, id, each.owner, each.owner_id)), None)


async def released_by(session: AsyncSession, environment_id: UUID, run_id: UUID) -> Lock | None:
    """What a run has given back already; one that was interrupted after that is not to end the next one's lock."""
    query = sa.select(Lock).where(Lock.released_run_id == run_id, Lock.environment_id == environment_id)
    return (await session.execute(query)).scalar_one_or_none()


async def kept_from(session: AsyncSession, environment_id: UUID, login: str, id: str, now: datetime) -> Lock | None:
    """The lock of another that keeps somebody out of an environment."""
    lock = await held(session, environment_id, now)
    return None if lock is None or same_person(login, id, lock.owner, lock.owner_id) else lock


async def requests(session: AsyncSession, repository_id: UUID) -> set[int]:
    """The pull requests of a repository with which locks end."""
    query = (
        sa.select(Lock.pull_request)
        .join(Environment, Environment.id == Lock.environment_id)
        .join(Project, Project.id == Environment.project_id)
        .where(Project.repository_id == repository_id, Lock.status.in_((HELD, WAITING)))
        .where(Lock.pull_request.is_not(None))
    )
    return {number for number in (await session.execute(query)).scalars() if number is not None}


async def run_out(session: AsyncSession, now: datetime) -> set[UUID]:
    """The environments whose locks have run out."""
    query = sa.select(Lock.environment_id).where(Lock.status == HELD, Lock.expires_at <= now)
    return set((await session.execute(query)).scalars())


# Changes. Each begins by keeping all others from the environment until the transaction ends.


async def claim(tx: Transaction, where: Place, wish: Claim) -> Lock:
    """The lock, or a place at the end of the line; who has one of them already keeps it, with the new words."""
    environment = where.environment.id
    await clear(tx, where)
    mine = await of_person(tx.session, environment, wish.owner, wish.owner_id)
    if mine is not None:
        return await _renew(tx, mine, wish)
    lock = Lock(
        id=uuid.uuid4(),
        environment_id=environment,
        owner=wish.owner,
        owner_id=wish.owner_id,
        pull_request=wish.pull_request,
        reason=wish.reason,
        position=await _last(tx.session, environment) + 1,
        status=WAITING,
        created_at=tx.now,
        expires_at=tx.now + wish.span if wish.span else None,
    )
    tx.session.add(lock)
    await tx.session.flush()
    if await held(tx.session, environment, tx.now) is None:
        await _give(tx, where, lock)
    else:
        _log(tx, where, lock, "lock.queued", wish.owner)
    return lock


async def release(tx: Transaction, where: Place, lock: Lock, *, by: str, run_id: UUID | None) -> None:
    """Give a lock back, or a place in line up; the next in line gets it."""
    lock.released_run_id = run_id
    await _end(tx, where, lock, RELEASED, by)


async def expire(tx: Transaction, environment_id: UUID) -> None:
    """Clear away a lock that has run out."""
    await clear(tx, await deployments.place(tx.session, environment_id))


async def close(tx: Transaction, repository_id: UUID, number: int, *, by: str) -> list[str]:
    """A pull request was closed: what was claimed on it is given back. The environments."""
    query = (
        sa.select(Lock.id, Lock.environment_id)
        .join(Environment, Environment.id == Lock.environment_id)
        .join(Project, Project.id == Environment.project_id)
        .where(Lock.pull_request == number, Lock.status.in_((HELD, WAITING)), Project.repository_id == repository_id)
        .order_by(Lock.environment_id, Lock.status.desc())  # places in line first, that none gets what is to go
    )
    names = []
    for id, environment_id in (await tx.session.execute(query)).all():
        where = await deployments.place(tx.session, environment_id)
        await deployments.one_at_a_time(tx.session, environment_id)
        lock = await tx.session.get_one(Lock, id, populate_existing=True)
        if lock.status in (HELD, WAITING):
            await _end(tx, where, lock, RELEASED, by)
            names.append(where.title)
    return names


async def clear(tx: Transaction, where: Place) -> None:
    """End the lock of an environment if it has run out, as whatever looks at its locks in order to change them does."""
    await deployments.one_at_a_time(tx.session, where.environment.id)
    query = sa.select(Lock).where(Lock.environment_id == where.environment.id, Lock.status == HELD)
    lock = (await tx.session.execute(query)).scalar_one_or_none()
    if lock is not None and _is_over(lock, tx.now):
        await _end(tx, where, lock, EXPIRED, None)


def _is_over(lock: Lock, now: datetime) -> bool:
    return lock.expires_at is not None and lock.expires_at <= now


async def _last(session: AsyncSession, environment_id: UUID) -> int:
    query = sa.select(sa.func.max(Lock.position)).where(
        Lock.environment_id == environment_id, Lock.status.in_((HELD, WAITING))
    )
    return (await session.execute(query)).scalar_one() or 0


async def _renew(tx: Transaction, lock: Lock, wish: Claim) -> Lock:
    since = tx.now if lock.status == HELD else lock.created_at
    lock.reason = wish.reason or lock.reason
    lock.pull_request = wish.pull_request or lock.pull_request
    if wish.span is not None:
        lock.expires_at = since + wish.span
    await tx.session.flush()
    return lock


async def _give(tx: Transaction, where: Place, lock: Lock) -> None:
    """The time that was asked for begins when it is held."""
    if lock.expires_at is not None:
        lock.expires_at = tx.now + (lock.expires_at - lock.created_at)
    lock.status, lock.claimed_at = HELD, tx.now
    await tx.session.flush()
    _log(tx, where, lock, "lock.claimed", lock.owner)


async def _end(tx: Transaction, where: Place, lock: Lock, status: str, by: str | None) -> None:
    was_held = lock.status == HELD
    lock.status, lock.released_at = status, tx.now
    await tx.session.flush()
    _log(tx, where, lock, f"lock.{status}", by)
    if not was_held:
        return
    following = await line(tx.session, where.environment.id)
    if following:
        await _give(tx, where, following[0])
        await _tell(tx, where, following[0])
    else:
        await _free(tx, where, lock, by)


async def _tell(tx: Transaction, where: Place, lock: Lock) -> None:
    repository = where.repository
    call = turn_call(repository.provider, repository.forge_id, lock.id, lock.owner, lock.pull_request)
    await runs.start(tx, repository, call)


async def _free(tx: Transaction, where: Place, lock: Lock, by: str | None) -> None:
    """Nobody keeps it any more: a deployment that waits may go, and who follows goes on."""
    repository, environment = where.repository, where.environment.id
    await ring_waiting(tx, environment)
    call = freed_call(repository.provider, repository.forge_id, environment, lock.id, by or lock.owner)
    await runs.start(tx, repository, call)


async def ring_waiting(tx: Transaction, environment_id: UUID) -> None:
    """Have the deployment that waits in an environment looked at."""
    query = sa.select(Deployment.id).where(
        Deployment.environment_id == environment_id, Deployment.status == Phase.WAITING
    )
    waiting = list((await tx.session.execute(query)).scalars())
    await leases.nudge(tx.session, Deployment, waiting, tx.now)
    for id in waiting:
        tx.ring("advance", id)


def _log(tx: Transaction, where: Place, lock: Lock, action: str, by: str | None) -> None:
    facts: dict[str, Any] = {"reason": lock.reason, "until": lock.expires_at and lock.expires_at.isoformat()}
    log.audit(
        tx.session,
        action,
        where.project,
        where.environment,
        actor=by,
        resource=("lock", lock.id),
        owner=lock.owner,
        **facts,
    )
