"""Projects, environments and the Flux objects that belong to them."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.errors import UserError
from models import Deployment, Environment, GitopsResource, Pin, Project, Repository

APPLIERS = ("kustomization", "helm-release")
CHART_SOURCES = ("helm-repository", "oci-repository")


async def of_repository(session: AsyncSession, repository_id: UUID) -> Sequence[Project]:
    """The projects of a repository."""
    query = (
        sa.select(Project)
        .where(Project.repository_id == repository_id, Project.deleted_at.is_(None))
        .order_by(Project.slug)
    )
    return (await session.execute(query)).scalars().all()


async def repositories(session: AsyncSession) -> Sequence[Repository]:
    """The repositories that have a project."""
    with_one = sa.select(Project.repository_id).where(Project.deleted_at.is_(None))
    query = sa.select(Repository).where(Repository.id.in_(with_one)).order_by(Repository.full_name)
    return (await session.execute(query)).scalars().all()


async def branches(session: AsyncSession, repository_id: UUID) -> Sequence[str]:
    """The branches that environments of a repository follow, or would if they were not pinned."""
    query = (
        sa.select(Environment.branch)
        .join(Project, Project.id == Environment.project_id)
        .where(Project.repository_id == repository_id, Project.deleted_at.is_(None), Environment.deleted_at.is_(None))
        .distinct()
    )
    return (await session.execute(query)).scalars().all()


async def environments(
    session: AsyncSession, repository_id: UUID, *, branch: str | None = None
) -> Sequence[tuple[Project, Environment]]:
    """The environments of a repository's projects, in the order that people see; those of one branch only.

    Not those of a project that is being disabled: nothing is deployed there any more.
    """
    query = (
        sa.select(Project, Environment)
        .join(Environment, Environment.project_id == Project.id)
        .where(Project.repository_id == repository_id, Environment.gitops_resource_id.is_not(None))
        .where(Project.deleted_at.is_(None), Environment.deleted_at.is_(None), Project.status != "disabling")
        .order_by(Project.slug, Environment.position, Environment.name)
    )
    if branch is not None:
        query = query.where(Environment.branch == branch)
    return [(project, environment) for project, environment in (await session.execute(query)).all()]


async def environments_of(session: AsyncSession, project_id: UUID) -> Sequence[Environment]:
    """The environments of a project, whether they are set up or not yet."""
    query = sa.select(Environment).where(Environment.project_id == project_id, Environment.deleted_at.is_(None))
    return (await session.execute(query.order_by(Environment.position, Environment.name))).scalars().all()


async def was_disabled(session: AsyncSession, repository_id: UUID, id: str) -> bool:
    """Whether this was a project of a repository that is gone now."""
    try:
        wanted = UUID(id)
    except ValueError:
        return False
    found = await session.get(Project, wanted)
    return found is not None and found.repository_id == repository_id and found.deleted_at is not None


async def in_namespace(session: AsyncSession, cluster: str, namespace: str) -> Environment | None:
    """The environment whose workloads go to a namespace."""
    query = sa.select(Environment).where(
        Environment.cluster == cluster, Environment.target_namespace == namespace, Environment.deleted_at.is_(None)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def applied(session: AsyncSession, environment_id: UUID) -> GitopsResource:
    """The object that applies an environment: its Kustomization or HelmRelease, made by Sluice or adopted."""
    row = await applier(session, environment_id)
    if row is None:
        raise LookupError(f"nothing applies the environment {environment_id}")
    return row


async def applier(session: AsyncSession, environment_id: UUID) -> GitopsResource | None:
    """The same, if there is one yet."""
    return await _object_of(session, environment_id, APPLIERS)


async def environment_named(session: AsyncSession, project_id: UUID, name: str) -> Environment | None:
    """An environment of a project by name."""
    query = sa.select(Environment).where(
        Environment.project_id == project_id, Environment.name == name, Environment.deleted_at.is_(None)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def live_pin(session: AsyncSession, environment_id: UUID) -> Pin | None:
    """The pin that an environment follows now."""
    query = sa.select(Pin).where(Pin.environment_id == environment_id, Pin.ended_at.is_(None))
    return (await session.execute(query)).scalar_one_or_none()


async def pins_of(session: AsyncSession, repository_id: UUID, **wanted: Any) -> Sequence[tuple[Pin, Environment]]:
    """The live pins of a repository, by pull_request or branch."""
    query = (
        sa.select(Pin, Environment)
        .join(Environment, Environment.id == Pin.environment_id)
        .join(Project, Project.id == Environment.project_id)
        .where(Project.repository_id == repository_id, Pin.ended_at.is_(None))
        .where(Project.deleted_at.is_(None), Environment.deleted_at.is_(None))
        .where(*(getattr(Pin, name) == value for name, value in wanted.items()))
        .order_by(Environment.position)
    )
    return [(pin, environment) for pin, environment in (await session.execute(query)).all()]


async def shared_source(session: AsyncSession, project: Project, cluster: str, branch: str) -> GitopsResource | None:
    """The GitRepository that followers of a branch share."""
    query = sa.select(GitopsResource).where(
        GitopsResource.project_id == project.id,
        GitopsResource.type == "git-repository",
        GitopsResource.environment_id.is_(None),
        GitopsResource.cluster == cluster,
        GitopsResource.branch == branch,
        GitopsResource.deleted_at.is_(None),
    )
    return (await session.execute(query)).scalar_one_or_none()


async def shared_sources(session: AsyncSession, project_id: UUID, cluster: str) -> Sequence[GitopsResource]:
    """The GitRepositories of a project's branches in a cluster."""
    query = sa.select(GitopsResource).where(
        GitopsResource.project_id == project_id,
        GitopsResource.type == "git-repository",
        GitopsResource.environment_id.is_(None),
        GitopsResource.cluster == cluster,
        GitopsResource.deleted_at.is_(None),
    )
    return (await session.execute(query)).scalars().all()


def is_elsewhere(environment: Environment) -> bool:
    """Whether it is a chart that is kept elsewhere: then Sluice writes its values, and nothing of Git goes to Flux."""
    return isinstance((environment.config.get("helm") or {}).get("chart"), Mapping)


def is_adopted(environment: Environment) -> bool:
    """Whether others keep the object that applies it: it is read and never written."""
    return environment.config.get("adopt") is not None


async def followed(session: AsyncSession, project: Project, environment: Environment) -> GitopsResource:
    """What an environment that is not pinned goes by: the branch's shared GitRepository, or where its chart is kept.

    What others keep goes by a source that is theirs, too; there the adopted object stands for both.
    """
    if is_adopted(environment):
        return await applied(session, environment.id)
    found = (
        await chart_source(session, environment.id)
        if is_elsewhere(environment)
        else await shared_source(session, project, environment.cluster, environment.branch)
    )
    if found is None:
        raise UserError("not_enabled", f"{environment.name} has no source; `/enable` makes it again")
    return found


async def own_source(session: AsyncSession, environment_id: UUID) -> GitopsResource | None:
    """The GitRepository that only this environment goes by, while it is pinned."""
    return await _object_of(session, environment_id, ("git-repository",))


async def chart_source(session: AsyncSession, environment_id: UUID) -> GitopsResource | None:
    """Where the chart of an environment comes from, if it is kept elsewhere."""
    return await _object_of(session, environment_id, CHART_SOURCES)


async def _object_of(session: AsyncSession, environment_id: UUID, types: Sequence[str]) -> GitopsResource | None:
    query = sa.select(GitopsResource).where(
        GitopsResource.environment_id == environment_id,
        GitopsResource.type.in_(types),
        GitopsResource.deleted_at.is_(None),
    )
    return (await session.execute(query)).scalar_one_or_none()


async def object_row(
    session: AsyncSession, cluster: str, type: str, namespace: str, name: str, *, for_update: bool = False
) -> GitopsResource | None:
    """The row of a Flux object."""
    query = sa.select(GitopsResource).where(
        GitopsResource.cluster == cluster,
        GitopsResource.type == type,
        GitopsResource.namespace == namespace,
        GitopsResource.name == name,
        GitopsResource.deleted_at.is_(None),
    )
    found = await session.execute(query.with_for_update() if for_update else query)
    return found.scalar_one_or_none()


async def unmoved(
    session: AsyncSession, cluster: str, types: Sequence[str], before: datetime
) -> Sequence[GitopsResource]:
    """Flux objects that are neither ready nor failed, and of which nothing was heard since."""
    query = sa.select(GitopsResource).where(
        GitopsResource.cluster == cluster,
        GitopsResource.type.in_(types),
        GitopsResource.deleted_at.is_(None),
        GitopsResource.status.in_(("pending", "reconciling")),
        GitopsResource.uid.is_not(None),
        GitopsResource.last_status_update_at < before,
    )
    return (await session.execute(query)).scalars().all()


async def ensure_object(
    session: AsyncSession,
    project: Project,
    *,
    type: str,
    cluster: str,
    name: str,
    environment_id: UUID | None = None,
    repository: Repository | None = None,
    branch: str | None = None,
    adopted_in: str | None = None,
) -> GitopsResource:
    """The row of a Flux object in the project's namespace, or in that of its owner; made if it is new."""
    namespace = adopted_in or project.namespace
    row = await object_row(session, cluster, type, namespace, name)
    if row is None:
        row = GitopsResource(
            id=uuid.uuid4(),
            project_id=project.id,
            environment_id=environment_id,
            repository_id=repository.id if repository else None,
            type=type,
            cluster=cluster,
            namespace=namespace,
            name=name,
            branch=branch,
            adopted=adopted_in is not None,
        )
        session.add(row)
        await session.flush()
    return row


async def unsettled_on(session: AsyncSession, resource_id: UUID, statuses: Sequence[str]) -> list[UUID]:
    """Deployments that wait for this Flux object."""
    query = sa.select(Deployment.id).where(
        Deployment.status.in_(statuses),
        sa.or_(Deployment.gitops_resource_id == resource_id, Deployment.source_id == resource_id),
    )
    return list((await session.execute(query)).scalars())


async def objects_of_kind(session: AsyncSession, cluster: str, type: str) -> Sequence[GitopsResource]:
    """The Flux objects of one kind that Sluice keeps in a cluster."""
    query = sa.select(GitopsResource).where(
        GitopsResource.cluster == cluster,
        GitopsResource.type == type,
        GitopsResource.adopted.is_(False),
        GitopsResource.deleted_at.is_(None),
    )
    return (await session.execute(query)).scalars().all()


async def adopted(session: AsyncSession, cluster: str) -> Sequence[GitopsResource]:
    """The Flux objects of a cluster that others keep."""
    query = sa.select(GitopsResource).where(
        GitopsResource.cluster == cluster, GitopsResource.adopted.is_(True), GitopsResource.deleted_at.is_(None)
    )
    return (await session.execute(query)).scalars().all()
