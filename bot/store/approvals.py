"""Approvals: one live voice a person and waiting deployment, void when what it was about moved."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.deployments import Phase
from bot.core.people import Person
from bot.store import leases, log
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Approval, Deployment, Environment, Project

APPROVED, REJECTED = "approved", "rejected"
WITHDRAWN = "withdrawn"  # a review that was dismissed, or asks for changes now


# Questions.


async def live(session: AsyncSession, deployment_id: UUID) -> Sequence[Approval]:
    """The voices that count, if their owners still may give them; the oldest first."""
    query = sa.select(Approval).where(
        Approval.deployment_id == deployment_id, Approval.voided_at.is_(None), Approval.verdict == APPROVED
    )
    return (await session.execute(query.order_by(Approval.created_at))).scalars().all()


async def of_request(
    session: AsyncSession, repository_id: UUID, number: int, *, since: datetime | None = None
) -> Sequence[Deployment]:
    """The deployments of a pull request that wait; with `since` also those that waited then."""
    query = _in_repository(repository_id).where(Deployment.pull_request == number)
    return await _waiting(session, query, since)


async def of_commit(
    session: AsyncSession, repository_id: UUID, commit: str, *, since: datetime | None = None
) -> Sequence[Deployment]:
    """The deployments of a commit that wait; with `since` also those that waited then."""
    query = _in_repository(repository_id).where(Deployment.commit_hash.startswith(commit, autoescape=True))
    return await _waiting(session, query, since)


async def of_repository(session: AsyncSession, repository_id: UUID) -> Sequence[Deployment]:
    """All deployments of a repository that wait."""
    return await _waiting(session, _in_repository(repository_id), None)


def _in_repository(repository_id: UUID) -> sa.Select[Deployment]:
    return (
        sa.select(Deployment)
        .join(Environment, Environment.id == Deployment.environment_id)
        .join(Project, Project.id == Environment.project_id)
        .where(Project.repository_id == repository_id, Project.deleted_at.is_(None), Environment.deleted_at.is_(None))
        .order_by(Environment.position)
    )


async def _waiting(session: AsyncSession, query: sa.Select[Deployment], since: datetime | None) -> Sequence[Deployment]:
    waits = Deployment.status == Phase.WAITING
    if since is not None:  # it had not ended, and had not been let go
        moved = sa.func.coalesce(Deployment.approved_at, Deployment.finished_at)
        waits = sa.and_(Deployment.created_at <= since, sa.or_(waits, moved > since))
    return (await session.execute(query.where(waits))).scalars().all()


# Changes.


async def give(
    tx: Transaction,
    where: Place,
    deployment: Deployment,
    person: Person,
    *,
    verdict: str = APPROVED,
    reason: str | None = None,
    run_id: UUID | None = None,
) -> None:
    """Somebody's voice on a deployment as it is bound now; it takes the place of an earlier one of theirs."""
    await _end(tx, deployment.id, {person.id}, "repeated")
    voice = Approval(
        id=uuid.uuid4(),
        deployment_id=deployment.id,
        user=person.login,
        provider_account_id=person.id,
        verdict=verdict,
        commit_hash=deployment.commit_hash,
        chain_digest=deployment.chain_digest,
        role=person.role.label,
        reason=reason,
        run_id=run_id,
        created_at=tx.now,
    )
    tx.session.add(voice)
    await tx.session.flush()
    _log(tx, where, deployment, f"deployment.voice.{verdict}", person.login, reason=reason)
    await ring(tx, [deployment.id])


async def void(
    tx: Transaction, where: Place, deployment: Deployment, reason: str, accounts: Collection[str] | None = None
) -> None:
    """Voices count no more; None: all of the deployment."""
    for user in await _end(tx, deployment.id, accounts, reason):
        _log(tx, where, deployment, "deployment.voice.voided", user, reason=reason)


async def ring(tx: Transaction, ids: Sequence[UUID]) -> None:
    """Have deployments that wait looked at again."""
    await leases.nudge(tx.session, Deployment, ids, tx.now)
    for id in ids:
        tx.ring("advance", id)


async def _end(tx: Transaction, deployment_id: UUID, accounts: Collection[str] | None, reason: str) -> Sequence[str]:
    statement = sa.update(Approval).where(Approval.deployment_id == deployment_id, Approval.voided_at.is_(None))
    if accounts is not None:
        statement = statement.where(Approval.provider_account_id.in_(accounts))
    ended = statement.values(voided_at=tx.now, void_reason=reason).returning(Approval.user)
    return (await tx.session.execute(ended)).scalars().all()


def _log(tx: Transaction, where: Place, deployment: Deployment, action: str, actor: str, *, reason: str | None) -> None:
    log.audit(
        tx.session,
        action,
        where.project,
        where.environment,
        actor=actor,
        resource=("deployment", deployment.id),
        commit=deployment.commit_hash,
        chain=deployment.chain_digest,
        reason=reason,
    )
