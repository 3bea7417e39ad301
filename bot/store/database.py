"""The database: one Database for each event loop, and the migrations."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

import migrations

BUSY_MS = 30_000
READY_SECONDS = 5.0
MIGRATION_LOCK = 0x51_01_CE  # of PostgreSQL; any number that nobody else uses


class Database:
    """Sessions for writing and for reading; use it from one event loop only.

    On SQLite there is one writer at a time, so what a write() reads cannot change under it. On PostgreSQL rows that are
    read to be changed must be read `with_for_update()` (which SQLite ignores).
    """

    def __init__(self, url: str, *, writers: int = 1, readers: int = 4) -> None:
        parsed = sa.make_url(url)
        self.dialect = parsed.get_backend_name()
        self._file = Path(parsed.database or "") if self.dialect == "sqlite" else None
        if self.dialect == "sqlite":
            self._writer = _sqlite_engine(url, "BEGIN IMMEDIATE", pool=1)
            self._reader = _sqlite_engine(url, "BEGIN", pool=readers, pragmas=("query_only=ON",))
        else:
            self._writer = create_async_engine(url, pool_size=writers, max_overflow=0, pool_pre_ping=True)
            self._reader = create_async_engine(
                url,
                pool_size=readers,
                max_overflow=0,
                pool_pre_ping=True,
                execution_options={"postgresql_readonly": True},
            )
        self._write = async_sessionmaker(self._writer, expire_on_commit=False)
        self._read = async_sessionmaker(self._reader, expire_on_commit=False)

    def write(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction that commits when it is left; a COMMIT that fails raises, an error inside rolls back.

        Never cancel a task that is in one: on SQLite the statement goes on in its thread, and the lock may stay.
        """
        return self._write.begin()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may not write."""
        async with self._read() as session:
            yield session

    async def ready(self) -> str | None:
        """None if the database can be worked with, else what is wrong with it."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await self._missing()
        except (TimeoutError, OSError, sa.exc.SQLAlchemyError) as error:
            return f"the database cannot be reached ({type(error).__name__})"

    async def _missing(self) -> str | None:
        if self._file is not None and not self._file.exists():
            return "there is no database file yet; run: sluice migrate"
        async with self._reader.connect() as connection:
            if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
                return "the database is empty; run: sluice migrate"
            found = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if found != newest_revision():
            return f"the database is at migration {found}, this version needs {newest_revision()}; run: sluice migrate"
        return None

    async def close(self) -> None:
        """Give back all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


def _sqlite_engine(url: str, begin: str, *, pool: int = 0, pragmas: tuple[str, ...] = ()) -> AsyncEngine:
    """An engine whose transactions begin as told: the driver's own would begin too late and lose updates."""
    pooling: dict[str, Any] = {"pool_size": pool, "max_overflow": 0} if pool else {"poolclass": NullPool}
    engine = create_async_engine(url, connect_args={"timeout": BUSY_MS / 1000}, **pooling)

    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine.sync_engine, "connect", connected)
    sa.event.listen(engine.sync_engine, "begin", begun)
    return engine


def open_sqlite(path: str, *, busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    """A plain connection with the promises of the engines above, for the intake's own thread."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (f"busy_timeout={busy_ms}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def alembic_config() -> Config:
    """Alembic's settings, without a file: the migrations lie in their package."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


@cache
def newest_revision() -> str | None:
    """The revision that the tables of this version have."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`, up or down; several processes may try at once, one does it."""
    with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
        thread.submit(asyncio.run, _migrate(url, revision)).result()


async def _migrate(url: str, revision: str) -> None:
    sqlite = sa.make_url(url).get_backend_name() == "sqlite"
    # Rebuilding a table on SQLite drops the old one: foreign keys would take the rows that point at it along.
    engine = (
        _sqlite_engine(url, "BEGIN EXCLUSIVE", pragmas=("foreign_keys=OFF",))
        if sqlite
        else create_async_engine(url, poolclass=NullPool)
    )
    try:
        async with engine.begin() as connection:
            if not sqlite:
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            await connection.run_sync(_run, revision)
            if sqlite and (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first() is not None:
                raise RuntimeError("the migration left rows that point at nothing; nothing was changed")
    finally:
        await engine.dispose()


def _run(connection: sa.Connection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    steps = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]  # newest first
    current = _current(connection)
    target = steps[0] if revision == "head" else revision
    down = target == "base" or (current in steps and target in steps and steps.index(target) > steps.index(current))
    (command.downgrade if down else command.upgrade)(config, target)


def _current(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")) or "")
