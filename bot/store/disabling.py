"""A project on its way out: its rows, from the command until the last object is gone."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import releases
from bot.store import deployments, leases, log, pins, projects, stands
from bot.store.transactions import Transaction
from models import Deployment, Environment, GitopsResource, Project, Run

APPLIERS = projects.APPLIERS
COMMAND = "disable"
_WRITERS = ("enable", "deploy", "follow", "unpin", "push")  # runs that may write to the cluster
_PRUNE = "prune"  # in an applier's config: what is to become of what it applied


async def ended_since(session: AsyncSession, repository_id: UUID, moment: datetime) -> bool:
    """Whether a project of the repository went since then: the command has done its work already."""
    query = sa.select(Project.id).where(
        Project.repository_id == repository_id, Project.status == "disabled", Project.deleted_at >= moment
    )
    return (await session.execute(query.limit(1))).scalar_one_or_none() is not None


async def environments_ended_since(
    session: AsyncSession, repository_id: UUID, moment: datetime
) -> list[tuple[Project, Sequence[Environment], bool]]:
    """The projects that went since then, with their environments, and whether what they had was pruned."""
    query = sa.select(Project).where(Project.repository_id == repository_id, Project.deleted_at >= moment)
    found = []
    for project in (await session.execute(query.order_by(Project.slug))).scalars().all():
        inside = sa.select(Environment).where(
            Environment.project_id == project.id, Environment.deleted_at == project.deleted_at
        )
        ordered = inside.order_by(Environment.position, Environment.name)
        appliers = sa.select(GitopsResource).where(
            GitopsResource.project_id == project.id, GitopsResource.deleted_at == project.deleted_at
        )
        pruned = any(prunes(row) for row in (await session.execute(appliers)).scalars())
        found.append((project, (await session.execute(ordered)).scalars().all(), pruned))
    return found


async def resources(session: AsyncSession, project_id: UUID) -> Sequence[GitopsResource]:
    """The objects of Flux's that a project has."""
    query = (
        sa.select(GitopsResource)
        .where(GitopsResource.project_id == project_id, GitopsResource.deleted_at.is_(None))
        .order_by(GitopsResource.type, GitopsResource.name)
    )
    return (await session.execute(query)).scalars().all()


def prunes(row: GitopsResource) -> bool:
    """Whether what the object applied is to go with it."""
    return bool(row.config.get(_PRUNE))


async def begin(tx: Transaction, project_id: UUID, run: Run, *, prune: bool) -> None:
    """From now on nothing is deployed any more; what was asked for first is kept to."""
    project = await tx.session.get_one(Project, project_id, with_for_update=True)
    if project.status == "disabling" or project.deleted_at is not None:
        return
    project.status = "disabling"
    for row in await resources(tx.session, project_id):
        if row.type in APPLIERS:
            row.config = {**row.config, _PRUNE: prune}
    for environment in await projects.environments_of(tx.session, project_id):
        await _end_deployments(tx, environment)
    log.record(
        tx.session,
        "project.disabling",
        event_type="audit",
        actor=run.actor,
        organization_id=project.organization_id,
        resource=("project", project.id),
        prune=prune,
    )


async def _end_deployments(tx: Transaction, environment: Environment) -> None:
    await deployments.one_at_a_time(tx.session, environment.id)
    where = await deployments.place(tx.session, environment.id)
    changes = releases.decide(await stands.read(tx.session, environment), releases.Disabled())
    await stands.apply(tx, where, changes)


async def is_worked_on(session: AsyncSession, repository_id: UUID, run: Run, now: datetime) -> bool:
    """Whether somebody who began before may still write to the cluster."""
    deploying = (
        sa.select(Deployment.id)
        .join(Environment, Environment.id == Deployment.environment_id)
        .join(Project, Project.id == Environment.project_id)
        .where(Project.repository_id == repository_id, Deployment.lease_until > now)
    )
    running = sa.select(Run.id).where(
        Run.repository_id == repository_id, Run.id != run.id, Run.name.in_(_WRITERS), Run.lease_until > now
    )
    for query in (deploying, running):
        if (await session.execute(query.limit(1))).scalar_one_or_none() is not None:
            return True
    return False


async def finish(tx: Transaction, project_id: UUID, run: Run) -> None:
    """The last object is gone: so are the rows."""
    project = await tx.session.get_one(Project, project_id, with_for_update=True)
    if project.deleted_at is not None:
        return
    for row in await resources(tx.session, project_id):
        row.deleted_at, row.uid = tx.now, None
        log.record(
            tx.session,
            "gitops.resource.released" if row.adopted else "gitops.resource.deleted",
            actor=run.actor,
            organization_id=project.organization_id,
            resource=("gitops_resource", row.id),
            type=row.type,
            name=f"{row.namespace}/{row.name}",
        )
    for environment in await projects.environments_of(tx.session, project_id):
        environment.deleted_at = tx.now
        pin = await projects.live_pin(tx.session, environment.id)
        if pin is not None:
            await pins.end(tx, pin)
    project.status, project.deleted_at = "disabled", tx.now
    log.record(
        tx.session,
        "project.disabled",
        event_type="audit",
        actor=run.actor,
        organization_id=project.organization_id,
        resource=("project", project.id),
    )


async def ring(tx: Transaction, project_id: UUID) -> None:
    """An object of a project is gone: have the command that waits for it look."""
    query = (
        sa.select(Run.id)
        .join(Project, Project.repository_id == Run.repository_id)
        .where(Project.id == project_id, Project.status == "disabling")
        .where(Run.name == COMMAND, Run.status == "queued")
    )
    waiting = list((await tx.session.execute(query)).scalars())
    await leases.nudge(tx.session, Run, waiting, tx.now)
    for id in waiting:
        tx.ring("execute", id)
