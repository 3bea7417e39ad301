"""What `sluice audit verify` and `sluice purge` do."""

import getpass
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from bot.core.errors import ConfigError
from bot.core.sealing import Keyring
from bot.settings import Settings
from bot.store import chain
from bot.store.database import Database
from bot.store.transactions import Store
from models.base import now

UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Nobody:
    """A bell without anybody to hear it: what is done here asks for no work."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Do nothing."""


def age(text: str) -> timedelta:
    """A length of time as people type it: 180d, 26w, 12h."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if found is None:
        raise ConfigError(f"{text!r} is no age: a number and h, d or w, like 180d")
    return int(found[1]) * UNITS[found[2]]


async def verify(settings: Settings) -> chain.Walk:
    """Walk the chain."""
    async with _store(settings) as store:
        return await chain.verify(store, Keyring(settings.secret_keys))


async def purge(settings: Settings, older_than: timedelta) -> int:
    """Take the oldest part of the event log away; how many rows."""
    async with _store(settings) as store:
        return await chain.purge(store, Keyring(settings.secret_keys), older_than, by=getpass.getuser())


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    database = Database(settings.database_url)
    try:
        problem = await database.ready()
        if problem:
            raise ConfigError(problem)
        yield Store(database, Nobody(), now)
    finally:
        await database.close()
