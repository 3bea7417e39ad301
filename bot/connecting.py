"""Register a webhook that speaks for one repository only."""

import uuid

import sqlalchemy as sa

from bot import log, registering
from bot.core.errors import ConfigError, UserError
from bot.core.ports import Hook as Registered
from bot.migrating import bring_up_to_date
from bot.settings import Settings
from bot.store import repositories
from bot.store.database import Database
from bot.wiring import make_forges
from models import Hook

logger = log.get(__name__)


async def connect(settings: Settings, forge: str, name: str) -> Registered:
    """Register the webhook, or bring it up to date: the row first, so that its deliveries are known."""
    registering.require(settings)
    adapters = make_forges(settings)
    if forge not in adapters:
        raise ConfigError(f"{forge} is not configured; set SLUICE_{forge.upper()}_TOKEN and what belongs to it")
    bring_up_to_date(settings.database_url, logger.info)
    database, adapter = Database(settings.database_url), adapters[forge]
    try:
        told = await adapter.repository(name)
        if told is None:
            raise UserError("repository_unknown", f"{forge} has no repository {name} that the bot's token can see")
        async with database.write() as session:
            row = await repositories.known(session, told)
            hook = (
                await session.execute(sa.select(Hook).where(Hook.repository_id == row.id))
            ).scalar_one_or_none() or Hook(id=uuid.uuid4(), repository_id=row.id)
            session.add(hook)
        return await registering.register(settings, database, adapter, row, hook)
    finally:
        for each in adapters.values():
            await each.close()
        await database.close()
