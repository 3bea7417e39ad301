"""Rows of a database at any revision, read and written by the tables as they are found there."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from models.base import UtcDateTime

DATA = Path(__file__).parent / "data"
Rows = dict[str, dict[Any, dict[str, Any]]]  # by table, by id


def data(revision: str) -> dict[str, list[dict[str, Any]]]:
    """What the revision's file holds."""
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load((DATA / f"{revision}.yaml").read_text())
    return found


async def ask(url: str, question: Callable[[sa.Connection], Any]) -> Any:
    """Ask in a transaction."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        answer = await connection.run_sync(question)
    await engine.dispose()
    return answer


async def load(url: str, revision: str) -> None:
    """Write the rows of the revision's file; two tables point at each other, so pointers are not checked here."""

    def write(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET session_replication_role = replica"))
        found = tables(connection)
        for name, rows in data(revision).items():
            connection.execute(sa.insert(found[name]), [_typed(found[name], row) for row in rows])

    await ask(url, write)


async def read(url: str) -> Rows:
    """All rows of all tables."""

    def everything(connection: sa.Connection) -> Rows:
        return {
            name: {row["id"]: dict(row) for row in connection.execute(sa.select(table)).mappings()}
            for name, table in tables(connection).items()
        }

    found: Rows = await ask(url, everything)
    return found


def tables(connection: sa.Connection) -> dict[str, sa.Table]:
    """The tables as they are; SQLite does not know ids and times as such."""
    metadata = sa.MetaData()

    @sa.event.listens_for(metadata, "column_reflect")
    def typed(inspector: Any, table: Any, column: Any) -> None:
        if isinstance(column["type"], sa.CHAR):
            column["type"] = sa.Uuid()
        elif isinstance(column["type"], sa.DateTime):
            column["type"] = UtcDateTime()

    metadata.reflect(connection)
    return {name: table for name, table in metadata.tables.items() if name != "alembic_version"}


def _typed(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: uuid.UUID(value) if value is not None and isinstance(table.columns[name].type, sa.Uuid) else value
        for name, value in row.items()
    }
