"""Sealed values wherever they lie: by which key, and their re-sealing while others write."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from bot.core.checks import Level
from bot.core.sealing import Keyring, SealBroken
from bot.store.database import Database
from models.base import Base

SUFFIX = "_sealed"  # the names of columns that hold sealed values end so
BATCH = 200  # rows of one transaction: others wait no longer than these take


class Place(msgspec.Struct, frozen=True):
    """A column that holds sealed values."""

    table: sa.Table
    column: sa.Column[Any]

    @property
    def name(self) -> str:
        """Table and column, for people."""
        return f"{self.table.name}.{self.column.name}"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How many values of one column are sealed with one key; `key_id` is None for what is no sealed value."""

    column: str
    key_id: str | None
    count: int


class Progress(msgspec.Struct, kw_only=True):
    """What a rotation has done: values re-sealed, values that another writer changed meanwhile, and what did not open.

    `broken` names each such value and why.
    """

    resealed: int = 0
    changed: int = 0
    broken: list[str] = []


def columns() -> list[Place]:
    """Every column that holds sealed values."""
    every = [Place(table, column) for table in Base.metadata.sorted_tables for column in table.columns]
    return [place for place in every if place.column.name.endswith(SUFFIX)]


async def uses(database: Database) -> list[Use]:
    """Which keys seal how much of what."""
    found = []
    for place in columns():
        column = place.column
        key_id = sa.func.substr(column, 4, 16)
        form = sa.case((column.like("v1.%"), key_id), else_=None).label("key_id")
        query = sa.select(form, sa.func.count()).where(column.is_not(None)).group_by(form).order_by(form)
        async with database.read() as session:
            counted = (await session.execute(query)).all()
        found += [Use(column=place.name, key_id=id, count=count) for id, count in counted]
    return found


async def reseal(database: Database, keys: Keyring, place: Place, tell: Callable[[str], None]) -> Progress:
    """Bring one column under the newest key, in small transactions; can be broken off and repeated at any time."""
    progress, last = Progress(), None
    while batch := await _stale(database, keys, place, last):
        last = batch[-1][0]
        await _write(database, place, list(_resealed(keys, place, batch, progress)), progress)
        tell(f"{place.name}: {progress.resealed} sealed anew with {keys.newest}")
    return progress


async def _stale(database: Database, keys: Keyring, place: Place, after: UUID | None) -> Sequence[tuple[UUID, str]]:
    """The next values that the newest key did not seal."""
    id, column = place.table.c.id, place.column
    query = sa.select(id, column).where(column.is_not(None), column.not_like(f"v1.{keys.newest}.%"))
    if after is not None:
        query = query.where(id > after)
    async with database.read() as session:
        return [(row, sealed) for row, sealed in await session.execute(query.order_by(id).limit(BATCH))]


def _resealed(
    keys: Keyring, place: Place, batch: Sequence[tuple[UUID, str]], progress: Progress
) -> Iterator[tuple[UUID, str, str]]:
    for row, sealed in batch:
        try:
            yield row, sealed, keys.reseal(sealed, table=place.table.name, row=row, column=place.column.name)
        except SealBroken as error:
            progress.broken.append(str(error))


async def _write(database: Database, place: Place, wishes: Sequence[tuple[UUID, str, str]], progress: Progress) -> None:
    """Replace only what was read: whoever wrote meanwhile wrote what is right now."""
    if not wishes:
        return
    table, column = place.table, place.column
    change = sa.update(table).where(table.c.id == sa.bindparam("row"), column == sa.bindparam("old"))
    given = [{"row": row, "old": old, "new": new} for row, old, new in wishes]
    ours = sa.select(sa.func.count()).where(column.in_([new for _, _, new in wishes]))
    async with database.write() as session:
        connection = await session.connection()
        await connection.execute(change.values({column.name: sa.bindparam("new")}), given)
        kept = (await connection.execute(ours.where(table.c.id.in_([row for row, _, _ in wishes])))).scalar_one()
    progress.resealed += kept
    progress.changed += len(wishes) - kept


def describe(keys: Keyring, found: Sequence[Use]) -> list[tuple[Level, str]]:
    """What is to be said of the keys in use."""
    said = []
    for use in found:
        what = f"{use.count} value{'s' if use.count != 1 else ''} of {use.column}"
        if use.key_id is None:
            said.append((Level.FAILED, f"{what} are not sealed at all"))
        elif use.key_id not in keys.ids:
            said.append((Level.FAILED, f"{what} need the key {use.key_id}, which SLUICE_SECRET_KEYS lacks"))
        elif use.key_id != keys.ids[0]:
            said.append((Level.WARNING, f"{what} are still sealed with the older key {use.key_id}"))
    needed = {use.key_id for use in found}
    for id in keys.ids[1:]:
        if id not in needed:
            said.append((Level.OK, f"nothing is sealed with the older key {id}"))
    return said
