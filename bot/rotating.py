"""Rotation of the operator's keys: what older ones sealed, and webhooks that sign by them, get the newest; online."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import sqlalchemy as sa

from bot import registering
from bot.core.checks import Level
from bot.core.errors import BotError, ConfigError
from bot.core.ports import Forge
from bot.core.sealing import Keyring
from bot.settings import Settings
from bot.store import sealed
from bot.store.database import Database
from bot.wiring import make_forges
from models import Hook, Repository

Tell = Callable[[str], None]


async def rotate(settings: Settings, tell: Tell) -> bool:
    """Seal everything with the newest key, telling how it goes; whether nothing is left of the older ones."""
    keys, database = Keyring(settings.secret_keys), Database(settings.database_url)
    try:
        broken: set[str] = set()
        for column in sealed.columns():
            async for progress in _passes(database, keys, column, tell):
                broken |= set(progress.broken)
        for text in sorted(broken):
            tell(f"not opened: {text}")
        good = _told(keys, await sealed.uses(database), tell)
        return await _renew_hooks(settings, database, tell) and good
    finally:
        await database.close()


async def check(settings: Settings, tell: Tell) -> bool:
    """Say what is sealed with which key; whether all is sealed with the newest."""
    database = Database(settings.database_url)
    try:
        count = len(await _hooks(database))
        if count and len(settings.secret_keys) > 1:
            tell(f"{_webhooks(count)} by secrets of these keys; `sluice rotate-keys` brings them to the newest")
        return _told(Keyring(settings.secret_keys), await sealed.uses(database), tell)
    finally:
        await database.close()


# Webhooks that Sluice registered sign with secrets that derive from a key, and no forge tells which one it has.


async def _hooks(database: Database) -> Sequence[tuple[Hook, Repository]]:
    query = sa.select(Hook, Repository).join(Repository, Repository.id == Hook.repository_id)
    async with database.read() as session:
        return [(hook, row) for hook, row in await session.execute(query.order_by(Repository.full_name))]


async def _renew_hooks(settings: Settings, database: Database, tell: Tell) -> bool:
    """Give the forges the secrets of the newest key; whether all of them took theirs."""
    found, adapters = await _hooks(database), make_forges(settings)
    try:
        renewed = [await _renew(settings, database, adapters, *each, tell) for each in found]
    finally:
        for each in adapters.values():
            await each.close()
    if sum(renewed):
        tell(f"{_webhooks(sum(renewed))} by secrets of the newest key")
    return all(renewed)


async def _renew(
    settings: Settings, database: Database, adapters: Mapping[str, Forge], hook: Hook, row: Repository, tell: Tell
) -> bool:
    try:
        if row.provider not in adapters:
            raise ConfigError(f"{row.provider} is not configured")
        await registering.register(settings, database, adapters[row.provider], row, hook)
    except BotError as error:
        advice = f"then run this again, or `sluice connect {row.provider} {row.full_name}`"
        tell(f"the webhook of {row.full_name} may still sign by an older key: {error}; mend that, {advice}")
        return False
    return True


def _webhooks(count: int) -> str:
    return f"{count} webhook signs" if count == 1 else f"{count} webhooks sign"


async def _passes(
    database: Database, keys: Keyring, column: sealed.Place, tell: Tell
) -> AsyncIterator[sealed.Progress]:
    """Go over a column until a pass finds nothing to do: rows that were written meanwhile get their turn."""
    while True:
        progress = await sealed.reseal(database, keys, column, tell)
        yield progress
        if not progress.resealed and not progress.changed:
            return


def _told(keys: Keyring, uses: list[sealed.Use], tell: Tell) -> bool:
    findings = sealed.describe(keys, uses)
    for _, text in findings:
        tell(text)
    good = all(level is Level.OK for level, _ in findings)
    if good:
        count = sum(use.count for use in uses)
        tell(f"all {count} sealed values are sealed with the newest key" if count else "nothing is sealed yet")
    return good
