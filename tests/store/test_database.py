"""The database loses no update, and says so when a COMMIT fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.store.database import Database
from models import Organization

COUNT = """
import asyncio, sys, time
import sqlalchemy as sa
from bot.store.database import Database

counters = sa.table("counters", sa.column("value", sa.Integer))

async def task(database, end):
    commits = 0
    while time.monotonic() < end:
        async with database.write() as session:
            value = await session.scalar(sa.select(counters.c.value).with_for_update())
            await session.execute(sa.update(counters).values(value=value + 1))
        commits += 1
    return commits

async def main():
    database = Database(sys.argv[1], writers=4)
    end = time.monotonic() + 1
    print(sum(await asyncio.gather(*(task(database, end) for _ in range(4)))))
    await database.close()

asyncio.run(main())
"""


@pytest.fixture
async def database(migrated_url: str):  # type: ignore[no-untyped-def]
    """A migrated database."""
    database = Database(migrated_url)
    yield database
    await database.close()


async def test_no_update_is_lost(migrated_url: str) -> None:
    """3 processes with 4 tasks each count up for a second: the counter says how often they committed."""
    database = Database(migrated_url)
    async with database.write() as session:
        await session.execute(sa.text("CREATE TABLE counters (value INTEGER)"))
        await session.execute(sa.text("INSERT INTO counters VALUES (0)"))

    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "error", "-c", COUNT, migrated_url]
    processes = [
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in processes]
    async with database.read() as session:
        counter = await session.scalar(sa.text("SELECT value FROM counters"))
    await database.close()

    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert counter == sum(int(out) for out, _ in outputs)
    assert counter > 0


async def test_a_transaction_is_whole(database: Database) -> None:
    """An error takes back everything that was written before it."""

    async def broken() -> None:
        async with database.write() as session:
            session.add(Organization(provider="github", name="acme"))
            await session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()

    async with database.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(Organization)) == 0


async def test_rows_can_be_read_after_their_transaction(database: Database) -> None:
    """Nothing expires at COMMIT, so nothing is loaded again behind one's back."""
    async with database.write() as session:
        session.add(found := Organization(provider="github", name="acme"))

    assert found.name == "acme"
    assert found.created_at.tzinfo is not None


async def test_readers_cannot_write(database: Database) -> None:
    """A mistake in code that only asks is an error."""
    async with database.read() as session:
        with pytest.raises(sa.exc.DBAPIError, match=r"readonly|read-only"):
            await session.execute(sa.text("DELETE FROM organizations"))


async def test_readers_do_not_wait_for_the_writer(database: Database) -> None:
    """While a transaction writes, others read what was there before it."""
    async with database.write() as writing:
        writing.add(Organization(provider="github", name="acme"))
        await writing.flush()
        async with database.read() as reading:
            assert await reading.scalar(sa.select(sa.func.count()).select_from(Organization)) == 0


async def test_a_failing_commit_raises(database: Database) -> None:
    """A constraint that is checked at COMMIT fails there, and the caller hears of it."""

    async def broken() -> None:
        async with database.write() as session:
            await session.execute(sa.text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
            deferred = "REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED"
            await session.execute(sa.text(f"CREATE TABLE children (parent INTEGER {deferred})"))
            await session.execute(sa.text("INSERT INTO children VALUES (1)"))

    with pytest.raises(sa.exc.IntegrityError):
        await broken()

    async with database.write() as session:  # the connection is as good as before
        session.add(Organization(provider="github", name="acme"))


async def test_power_loss_settings_of_sqlite(tmp_path: Path) -> None:
    """Every connection waits for the disk, checks foreign keys and waits for locks."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/s.db")
    for session_of in (database.write, database.read):
        async with session_of() as session:
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            found = [await session.scalar(sa.text(f"PRAGMA {name}")) for name in names]
        assert found == ["wal", 2, 1, 30000]
    await database.close()
