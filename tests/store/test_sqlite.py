"""SQLite's connection: one trip to its thread for a statement, and as good after trouble as before it."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.store import database as module
from bot.store.database import Database
from bot.store.sqlite import Connection


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database with a table; it waits for locks only shortly."""
    opened = module.open_sqlite

    def impatient(path: str, *, pragmas: tuple[str, ...] = ()) -> sqlite3.Connection:
        return opened(path, busy_ms=50, pragmas=pragmas)

    monkeypatch.setattr(module, "open_sqlite", impatient)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/s.db")
    async with database.write() as session:
        await session.execute(sa.text("CREATE TABLE words (word TEXT)"))
    yield database
    await database.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the thread was asked for."""
    found: list[str] = []
    execute = Connection._execute

    async def counted(self: Connection, work: Any, *args: Any) -> Any:
        found.append(work.__name__)
        return await execute(self, work, *args)

    monkeypatch.setattr(Connection, "_execute", counted)
    return found


async def test_a_statement_is_one_trip(database: Database, trips: list[str]) -> None:
    """BEGIN goes with the first one, and the rows come with the answer."""
    async with database.write() as session:
        await session.execute(sa.text("INSERT INTO words VALUES ('one'), ('two')"))
        found = await session.scalars(sa.text("SELECT word FROM words ORDER BY word"))
        assert list(found) == ["one", "two"]

    assert trips == ["_ask", "_ask", "commit"]


async def test_what_cannot_begin_leaves_a_good_connection(database: Database, tmp_path: Path) -> None:
    """Somebody else writes for longer than we wait; the next transaction finds nothing left over."""
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def late() -> None:
        async with database.write() as session:
            await session.execute(sa.text("INSERT INTO words VALUES ('lost')"))

    with pytest.raises(sa.exc.OperationalError, match="locked"):
        await late()
    other.execute("ROLLBACK")
    other.close()

    async with database.write() as session:
        await session.execute(sa.text("INSERT INTO words VALUES ('kept')"))
    async with database.read() as session:
        assert list(await session.scalars(sa.text("SELECT word FROM words"))) == ["kept"]


@pytest.mark.parametrize("first", ["INSERT INTO words VALUES ('gone')", "INSERT INTO nowhere VALUES (1)"])
async def test_an_error_takes_back_what_was_begun(database: Database, first: str) -> None:
    """Also where the statement that failed was the first one, with which BEGIN went."""

    async def broken() -> None:
        async with database.write() as session:
            await session.execute(sa.text(first))
            await session.execute(sa.text("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        await broken()
    async with database.write() as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM words")) == 0


async def test_many_rows_at_once_are_one_trip(database: Database, trips: list[str]) -> None:
    """A list of parameters is handed over as it is."""
    async with database.write() as session:
        done = await session.execute(sa.text("INSERT INTO words VALUES (:word)"), [{"word": str(n)} for n in range(50)])
        assert done.rowcount == 50  # type: ignore[attr-defined] # of a statement that changes rows

    assert trips == ["_ask", "commit"]
