"""The migrations make the tables that the models describe, on both databases."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from bot.store.database import Database, migrate
from models import Base


async def ask(url: str, question: Callable[[sa.Connection], Any]) -> Any:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        answer = await connection.run_sync(question)
    await engine.dispose()
    return answer


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


async def test_the_newest_migration_is_what_the_models_say(database_url: str) -> None:
    """Nothing is left for autogenerate to do."""
    migrate(database_url)

    def differences(connection: sa.Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))

    assert await ask(database_url, differences) == []


async def test_down_and_up_again(database_url: str) -> None:
    """A downgrade takes every table away, an upgrade brings them back."""
    migrate(database_url)
    migrate(database_url, "base")
    assert await ask(database_url, tables) == {"alembic_version"}

    migrate(database_url)
    assert await ask(database_url, tables) == {"alembic_version", *Base.metadata.tables}


async def test_foreign_keys_are_there(database_url: str) -> None:
    """Also the one of the two tables that point at each other."""
    migrate(database_url)

    def pointed(connection: sa.Connection) -> set[str]:
        return {key["referred_table"] for key in sa.inspect(connection).get_foreign_keys("environments")}

    assert await ask(database_url, pointed) == {"projects", "gitops_resources"}


async def test_readiness_tells_what_is_missing(database_url: str) -> None:
    """A database that is not there, an empty one and an old one are told apart."""
    database = Database(database_url)
    if database.dialect == "sqlite":
        assert await database.ready() == "there is no database file yet; run: sluice migrate"

    migrate(database_url)
    assert await database.ready() is None

    migrate(database_url, "0001")
    assert "is at migration 0001, this version needs" in str(await database.ready())

    async with database.write() as session:
        await session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert "is at migration 9999, which this version does not know" in str(await database.ready())

    async with database.write() as session:
        await session.execute(sa.text("DROP TABLE alembic_version"))
    assert await database.ready() == "the database is empty; run: sluice migrate"
    await database.close()


async def test_an_unreachable_database_is_said_without_its_password() -> None:
    """The answer names the trouble only."""
    database = Database("postgresql+asyncpg://u:planted-password@127.0.0.1:1/x")

    reason = await database.ready()

    assert reason is not None
    assert reason.startswith("the database cannot be reached")
    assert "planted" not in reason
    await database.close()


async def test_several_processes_may_migrate_at_once(database_url: str, tmp_path: Path) -> None:
    """One does it, the others find it done; none needs to be in the project's folder."""
    code = "import sys; from bot.store.database import migrate; migrate(sys.argv[1])"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, database_url],
            cwd=tmp_path,
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    errors = [process.communicate()[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, errors
    assert await ask(database_url, tables) == {"alembic_version", *Base.metadata.tables}
