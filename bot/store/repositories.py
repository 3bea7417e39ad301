"""Repositories and their owners, as deliveries name them."""

import uuid
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import events
from bot.core.conversation import code
from bot.core.errors import UserError
from models import Hook, Organization, Repository


def insert(session: AsyncSession, table: Any) -> Any:
    """An INSERT that knows ON CONFLICT, in the dialect of the session."""
    dialect = session.get_bind().dialect.name
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


async def named(session: AsyncSession, full_name: str, forge: str | None = None) -> Repository:
    """The row of a repository by its name; UserError where there is none, or one on each of several forges."""
    query = sa.select(Repository).where(sa.func.lower(Repository.full_name) == full_name.lower())
    if forge is not None:
        query = query.where(Repository.provider == forge)
    found = (await session.execute(query)).scalars().all()
    if not found:
        raise UserError("repository_unknown", f"{code(full_name, 100)} is not known here; `sluice connect` makes it so")
    if len(found) > 1:
        raise UserError("target_ambiguous", f"{code(full_name, 100)} is on several forges; say which with --forge")
    return found[0]


async def known(session: AsyncSession, told: events.Repository) -> Repository:
    """The row of a repository; made or brought up to date from what the forge told."""
    organization_id = await _organization(session, told)
    facts = {
        "organization_id": organization_id,
        "full_name": told.full_name,
        "clone_url": told.clone_url,
        "html_url": told.html_url,
        "default_branch": told.default_branch,
        "private": told.private,
    }
    statement = (
        insert(session, Repository)
        .values(id=uuid.uuid4(), provider=told.forge, forge_id=told.id, **facts)
        .on_conflict_do_update(index_elements=["provider", "forge_id"], set_=facts)
        .returning(Repository)
    )
    found = await session.execute(statement, execution_options={"populate_existing": True})
    row: Repository = found.scalar_one()
    return row


async def _organization(session: AsyncSession, told: events.Repository) -> UUID:
    await session.execute(
        insert(session, Organization)
        .values(id=uuid.uuid4(), provider=told.forge, name=told.owner)
        .on_conflict_do_nothing(index_elements=["provider", "name"])
    )
    query = sa.select(Organization.id).where(Organization.provider == told.forge, Organization.name == told.owner)
    return (await session.execute(query)).scalar_one()


async def of_hook(session: AsyncSession, hook_id: UUID) -> Repository | None:
    """The one repository that a registered hook speaks for."""
    query = sa.select(Repository).join(Hook, Hook.repository_id == Repository.id).where(Hook.id == hook_id)
    return (await session.execute(query)).scalar_one_or_none()
