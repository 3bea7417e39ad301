"""What the operator sets of a project's credentials from the command line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import sqlalchemy as sa

from bot import wiring
from bot.core.errors import ConfigError, UserError
from bot.credentials import Credentials
from bot.settings import Settings
from bot.store import projects
from bot.store.database import Database
from bot.store.transactions import Store
from models import Project, ProjectGitAuth, Repository
from models.base import now


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token it is to be."""

    repository: str
    project: str | None
    forge: str | None
    kind: str
    username: str | None
    actor: str


class _Silent:
    """Nobody waits for these rows: the sweep finds them."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Nobody hears it."""


async def set_token(settings: Settings, wish: Wish, token: str) -> str:
    """Try the token, seal it, and say what becomes of it."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("this is no token: it is empty, or has spaces or other characters that no token has")
    async with _opened(settings) as credentials:
        repository, project = await _project(credentials.store, wish)
        ends = await credentials.set_token(
            repository, project, token, type=wish.kind, username=wish.username, actor=wish.actor
        )
    until = f"until {ends:%Y-%m-%d %H:%M} UTC" if ends else "and the forge names no end"
    return f"{repository.full_name} ({project.slug}): the token works, {until}; Sluice writes it to the cluster now"


async def listed(settings: Settings) -> list[tuple[str, ...]]:
    """Every project's credentials: repository, project, kind, status, end, and what is to be said."""
    query = (
        sa.select(Repository.full_name, Project.slug, ProjectGitAuth)
        .join(Project, Project.repository_id == Repository.id)
        .outerjoin(ProjectGitAuth, ProjectGitAuth.project_id == Project.id)
        .where(Project.deleted_at.is_(None))
        .order_by(Repository.full_name, Project.slug)
    )
    database = Database(settings.database_url)
    try:
        async with database.read() as session:
            return [(name, slug, *_shown(auth)) for name, slug, auth in await session.execute(query)]
    finally:
        await database.close()


def _shown(auth: ProjectGitAuth | None) -> tuple[str, ...]:
    if auth is None:
        return "none", "", "", ""
    ends = f"{auth.expires_at:%Y-%m-%d %H:%M}" if auth.expires_at else ""
    return auth.auth_type, auth.validation_status, ends, auth.validation_message or ""


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Credentials]:
    database = Database(settings.database_url)
    forges = wiring.make_forges(settings)
    credentials = wiring.make_credentials(settings, Store(database, _Silent(), now), forges, {})
    try:
        yield credentials
    finally:
        await credentials.close()
        for forge in forges.values():
            await forge.close()
        await database.close()


async def _project(store: Store, wish: Wish) -> tuple[Repository, Project]:
    query = sa.select(Repository).where(sa.func.lower(Repository.full_name) == wish.repository.lower())
    if wish.forge is not None:
        query = query.where(Repository.provider == wish.forge)
    async with store.read() as session:
        repositories = (await session.execute(query)).scalars().all()
        if len(repositories) > 1:
            raise UserError("target_ambiguous", f"{wish.repository} is on several forges: say which with --forge")
        found = await projects.of_repository(session, repositories[0].id) if repositories else []
    fitting = [each for each in found if wish.project in (None, each.slug)]
    if not fitting:
        text = (
            f"{wish.repository} has no such project yet: an admin comments /enable, which stops where a token is wanted"
        )
        raise UserError("not_enabled", text)
    if len(fitting) > 1:
        names = ", ".join(each.slug for each in fitting)
        raise UserError(
            "target_ambiguous", f"{wish.repository} has several projects: say which with --project ({names})"
        )
    return repositories[0], fitting[0]
