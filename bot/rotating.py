"""Rotation of the operator's keys: what is sealed with older ones is sealed anew, while everything runs."""

from collections.abc import AsyncIterator, Callable

from bot.core.checks import Level
from bot.core.sealing import Keyring
from bot.settings import Settings
from bot.store import sealed
from bot.store.database import Database

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
        return _told(keys, await sealed.uses(database), tell)
    finally:
        await database.close()


async def check(settings: Settings, tell: Tell) -> bool:
    """Say what is sealed with which key; whether all is sealed with the newest."""
    database = Database(settings.database_url)
    try:
        return _told(Keyring(settings.secret_keys), await sealed.uses(database), tell)
    finally:
        await database.close()


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
