"""Looks up the webhooks that Sluice registered."""

from uuid import UUID

import sqlalchemy as sa

from bot.store.database import Database
from bot.web.webhooks import KnownHook
from models import Hook, Repository


def known_in(database: Database) -> KnownHook:
    """Whether a hook is registered, and on that forge."""

    async def known(forge: str, hook_id: UUID) -> bool:
        question = (
            sa.select(Hook.id)
            .join(Repository, Repository.id == Hook.repository_id)
            .where(Hook.id == hook_id, Repository.provider == forge)
        )
        async with database.read() as session:
            return await session.scalar(question) is not None

    return known
