"""Work on the database is not cut: SQLite's lock would stay with a transaction that nobody ends."""

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.store.database import Database, migrate
from bot.wiring import whole


async def test_a_cancelled_caller_leaves_no_lock(tmp_path: Path) -> None:
    """Whenever the observer is cancelled, its transaction ends, and the next writer gets in."""
    migrate(f"sqlite+aiosqlite:///{tmp_path / 'sluice.db'}")
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'sluice.db'}")
    chance = random.Random(1)

    async def write(text: str) -> None:
        async with database.write() as session:
            await session.execute(sa.text("UPDATE runs SET text = :text"), {"text": text})

    other = sqlite3.connect(tmp_path / "sluice.db", timeout=5, isolation_level=None)
    for _ in range(100):
        task = asyncio.create_task(whole(write)("x"))
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    other.close()
    await database.close()


async def test_the_answer_and_the_failure_come_through() -> None:
    """Uncancelled it is as if it were not there."""

    async def half(number: int) -> float:
        return 1 / number

    assert await whole(half)(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        await whole(half)(0)
