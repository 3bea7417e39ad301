"""The credentials of projects: one main row and the rows of its kind."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store.transactions import Transaction
from models import (
    GitopsResource,
    Project,
    ProjectGitAuth,
    ProjectGitAuthApp,
    ProjectGitAuthDeployKey,
    ProjectGitAuthOauth,
    ProjectGitAuthToken,
    Repository,
)

# Which rows belong to which kind. A connection registers a deploy key; its own token never enters a cluster.
Part = type[ProjectGitAuthToken] | type[ProjectGitAuthApp] | type[ProjectGitAuthDeployKey] | type[ProjectGitAuthOauth]
PARTS: dict[str, tuple[Part, ...]] = {
    "token": (ProjectGitAuthToken,),
    "app": (ProjectGitAuthApp,),
    "deploy_key": (ProjectGitAuthDeployKey,),
    "oauth": (ProjectGitAuthOauth, ProjectGitAuthDeployKey),
}


@dataclass(frozen=True)
class Held:
    """What is known of a project's credentials. A `token` without its row is the operator's."""

    auth: ProjectGitAuth
    token: ProjectGitAuthToken | None
    app: ProjectGitAuthApp | None
    key: ProjectGitAuthDeployKey | None
    oauth: ProjectGitAuthOauth | None


async def of_project(session: AsyncSession, project_id: UUID) -> Held | None:
    """A project's credentials; None where it has none, as for a public repository."""
    query = (
        sa.select(ProjectGitAuth, ProjectGitAuthToken, ProjectGitAuthApp, ProjectGitAuthDeployKey, ProjectGitAuthOauth)
        .outerjoin(ProjectGitAuthToken, ProjectGitAuthToken.auth_id == ProjectGitAuth.id)
        .outerjoin(ProjectGitAuthApp, ProjectGitAuthApp.auth_id == ProjectGitAuth.id)
        .outerjoin(ProjectGitAuthDeployKey, ProjectGitAuthDeployKey.auth_id == ProjectGitAuth.id)
        .outerjoin(ProjectGitAuthOauth, ProjectGitAuthOauth.auth_id == ProjectGitAuth.id)
        .where(ProjectGitAuth.project_id == project_id)
    )
    found = (await session.execute(query)).one_or_none()
    return None if found is None else Held(*found)


async def put(tx: Transaction, project_id: UUID, kind: str, actor: str) -> ProjectGitAuth:
    """The main row, of this kind; what belonged to another kind goes."""
    auth = (
        await tx.session.execute(
            sa.select(ProjectGitAuth).where(ProjectGitAuth.project_id == project_id).with_for_update()
        )
    ).scalar_one_or_none()
    if auth is None:
        auth = ProjectGitAuth(id=uuid.uuid4(), project_id=project_id, auth_type=kind, created_by=actor)
        tx.session.add(auth)
    elif auth.auth_type != kind:
        for part in {each for parts in PARTS.values() for each in parts} - set(PARTS[kind]):
            await tx.session.execute(sa.delete(part).where(part.auth_id == auth.id))
        auth.auth_type, auth.created_by, auth.expires_at = kind, actor, None
        auth.validation_status, auth.validation_message = "pending", None
    await tx.session.flush()
    return auth


async def drop(session: AsyncSession, project_id: UUID) -> None:
    """A project's credentials go, with all that belongs to them."""
    await session.execute(sa.delete(ProjectGitAuth).where(ProjectGitAuth.project_id == project_id))


async def due(session: AsyncSession, now: datetime) -> Sequence[tuple[ProjectGitAuth, Project, Repository]]:
    """Credentials that are to be renewed or tried, of projects that are there."""
    query = (
        sa.select(ProjectGitAuth, Project, Repository)
        .join(Project, Project.id == ProjectGitAuth.project_id)
        .join(Repository, Repository.id == Project.repository_id)
        .where(ProjectGitAuth.renew_at <= now, Project.deleted_at.is_(None), Project.status != "disabling")
        .order_by(ProjectGitAuth.renew_at)
        .limit(200)
    )
    return [(auth, project, repository) for auth, project, repository in await session.execute(query)]


async def claim(session: AsyncSession, auth: ProjectGitAuth, until: datetime) -> bool:
    """Take the renewal of a row that was seen as due; one that asks gets it, and if it dies, another one later."""
    change = (
        sa.update(ProjectGitAuth)
        .where(ProjectGitAuth.id == auth.id, ProjectGitAuth.renew_at == auth.renew_at)
        .values(renew_at=until)
    )
    return (await session.execute(change.returning(ProjectGitAuth.id))).scalar_one_or_none() is not None


async def clusters(session: AsyncSession, project_id: UUID) -> Sequence[str]:
    """The clusters that hold objects of a project, and so its Secret."""
    query = sa.select(GitopsResource.cluster).where(
        GitopsResource.project_id == project_id, GitopsResource.deleted_at.is_(None)
    )
    return (await session.execute(query.distinct().order_by(GitopsResource.cluster))).scalars().all()


async def troubled(session: AsyncSession) -> Sequence[tuple[ProjectGitAuth, Project, Repository]]:
    """Credentials that somebody has to see to."""
    query = (
        sa.select(ProjectGitAuth, Project, Repository)
        .join(Project, Project.id == ProjectGitAuth.project_id)
        .join(Repository, Repository.id == Project.repository_id)
        .where(ProjectGitAuth.validation_status.in_(("invalid", "expiring")), Project.deleted_at.is_(None))
        .order_by(Repository.full_name, Project.slug)
    )
    return [(auth, project, repository) for auth, project, repository in await session.execute(query)]
