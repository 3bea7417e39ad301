"""The database: one Database for each event loop, and the migrations."""

import asyncio
import io
import re
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

import migrations
from bot.core.errors import ConfigError, DiskFull
from bot.store import sqlite

BUSY_MS = 30_000
RETRY_SECONDS = 0.02
READY_SECONDS = 5.0
Result = TypeVar("Result")
MIGRATION_LOCK = 0x51_01_CE  # of PostgreSQL; any number that nobody else uses


class NewerDatabase(ConfigError):
    """A newer version of Sluice migrated the database; this one would not understand what is in it."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database is at migration {revision}, which this version does not know: "
            "use the version that made it, or restore the backup"
        )


class Database:
    """Sessions for writing and for reading; use it from one event loop only.

    On SQLite there is one writer at a time, so what a write() reads cannot change under it. On PostgreSQL rows that are
    read to be changed must be read `with_for_update()` (which SQLite ignores).
    """

    def __init__(self, url: str, *, writers: int = 1, readers: int = 4) -> None:
        parsed = sa.make_url(url)
        self.dialect = parsed.get_backend_name()
        self.file = Path(parsed.database or "") if self.dialect == "sqlite" else None
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

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that commits when it is left; a COMMIT that fails raises, an error inside rolls back.

        A disk that is full is DiskFull. Never cancel a task that is in one: on SQLite the statement goes on in its
        thread, and the lock may stay.
        """
        try:
            async with self._write.begin() as session:
                yield session
        except sa.exc.DBAPIError as error:
            if not _is_full(error.orig):
                raise
            raise DiskFull from error

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
        if self.file is not None and not self.file.exists():
            return "there is no database file yet; run: sluice migrate"
        found = await self.revision()
        if not found:
            return "the database is empty; run: sluice migrate"
        if found not in revisions():
            return str(NewerDatabase(found))
        if found != newest_revision():
            return f"the database is at migration {found}, this version needs {newest_revision()}; run: sluice migrate"
        return None

    async def revision(self) -> str:
        """The migration that the database is at; empty if it is empty."""
        async with self._reader.connect() as connection:
            return await connection.run_sync(_current)

    async def close(self) -> None:
        """Give back all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


def _is_full(error: Any) -> bool:
    """Whether a database says that there is no room: SQLite by its code, PostgreSQL by its state."""
    return (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or "database or disk is full" in str(error)
        or getattr(error, "sqlstate", None) == "53100"
    )


def _sqlite_engine(url: str, begin: str, *, pool: int = 0, pragmas: tuple[str, ...] = ()) -> AsyncEngine:
    """An engine whose transactions begin as told: the driver's own would begin too late and lose updates."""
    pooling: dict[str, Any] = {"pool_size": pool, "max_overflow": 0} if pool else {"poolclass": NullPool}
    path = sa.make_url(url).database or ""

    async def connected() -> sqlite.Connection:
        connection = sqlite.Connection(lambda: open_sqlite(path, pragmas=pragmas))
        await connection
        return connection

    def begun(connection: sa.Connection) -> None:
        connection.connection.driver_connection.begin(begin)  # type: ignore[union-attr] # it is as `connected` made it

    engine = create_async_engine(url, async_creator=connected, **pooling)
    sa.event.listen(engine.sync_engine, "begin", begun)
    return engine


def open_sqlite(path: str, *, busy_ms: int = BUSY_MS, pragmas: tuple[str, ...] = ()) -> sqlite3.Connection:
    """A connection as all are here: it waits for locks and for the disk, and checks foreign keys."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout={busy_ms}")
    _write_ahead(connection, busy_ms)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", *pragmas):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _write_ahead(connection: sqlite3.Connection, busy_ms: int) -> None:
    """Switch to WAL. SQLite does not wait for a lock here: several that open a new file at once would be refused."""
    deadline = time.monotonic() + busy_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def alembic_config() -> Config:
    """Alembic's settings, without a file: the migrations lie in their package."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


@cache
def revisions() -> tuple[str, ...]:
    """The migrations that this version knows, newest first."""
    return tuple(each.revision for each in ScriptDirectory.from_config(alembic_config()).walk_revisions())


def newest_revision() -> str:
    """The revision that the tables of this version have."""
    return revisions()[0]


Before = Callable[[str], None]


def migrate(url: str, revision: str = "head", *, before: Before | None = None) -> None:
    """Bring the database to `revision`, up or down; several processes may try at once, one does it.

    `before` is called with the revision of a database that is to be changed and is not empty. Nobody else writes to it
    while it runs (on PostgreSQL: migrates it), and what it raises leaves everything as it was.
    """
    _in_thread(lambda: _migrate(url, revision, before))


def refuse_newer(url: str) -> None:
    """Raise NewerDatabase if it is one; trouble with the database is for those to tell who work with it."""

    async def ask() -> str:
        database = Database(url)
        try:
            return await database.revision() if await database.ready() is not None else ""
        except (OSError, sa.exc.SQLAlchemyError):
            return ""
        finally:
            await database.close()

    found = _in_thread(ask)
    if found and found not in revisions():
        raise NewerDatabase(found)


def sql(url: str) -> str:
    """The SQL that `migrate` would run; the database is only looked at."""
    return _in_thread(lambda: _sql(url))


async def _sql(url: str) -> str:
    if sa.make_url(url).get_backend_name() == "sqlite":
        return await _sqlite_sql(Path(sa.make_url(url).database or ""))
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        current = await connection.run_sync(_current)
    await engine.dispose()
    if current and current not in revisions():
        raise NewerDatabase(current)
    written = io.StringIO()
    config = alembic_config()
    config.output_buffer = written
    config.attributes["dialect"] = "postgresql"
    if current != newest_revision():
        command.upgrade(config, f"{current or 'base'}:head", sql=True)
    return written.getvalue()


async def _sqlite_sql(file: Path) -> str:
    """What is run on an empty twin: SQLite's steps depend on the tables that they find, never on the rows."""
    with tempfile.TemporaryDirectory() as folder:
        twin = Path(folder) / "twin.db"
        _copy_tables(file, twin)
        written: list[str] = []

        def listen(connection: Any, cursor: Any, statement: str, *_: object) -> None:
            if not re.match(r"\s*(SELECT|PRAGMA|BEGIN)\b", statement):
                written.append(statement.strip())

        await _migrate(f"sqlite+aiosqlite:///{twin}", "head", None, listen)
    return "".join(f"{statement};\n\n" for statement in written)


MADE = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"


def _copy_tables(file: Path, to: Path) -> None:
    """The tables without their rows, but for the one that says which migration they are at."""
    with closing(sqlite3.connect(to)) as target:
        if not file.exists():
            return
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as source:
            for (statement,) in source.execute(f"{MADE} ORDER BY rowid"):
                target.execute(statement)
            if source.execute(f"{MADE} AND name = 'alembic_version'").fetchone():
                found = source.execute("SELECT version_num FROM alembic_version").fetchall()
                target.executemany("INSERT INTO alembic_version VALUES (?)", found)
        target.commit()


def _in_thread(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run it to its end; the caller may be inside an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


async def _migrate(url: str, revision: str, before: Before | None, listen: Callable[..., None] | None = None) -> None:
    on_sqlite = sa.make_url(url).get_backend_name() == "sqlite"
    # Rebuilding a table on SQLite drops the old one: foreign keys would take the rows that point at it along.
    engine = (
        _sqlite_engine(url, "BEGIN EXCLUSIVE", pragmas=("foreign_keys=OFF",))
        if on_sqlite
        else create_async_engine(url, poolclass=NullPool)
    )
    if listen is not None:
        sa.event.listen(engine.sync_engine, "before_cursor_execute", listen)
    try:
        async with engine.begin() as connection:
            if not on_sqlite:
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            await connection.run_sync(_run, revision, before)
            if on_sqlite and (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first() is not None:
                raise RuntimeError("the migration left rows that point at nothing; nothing was changed")
    finally:
        await engine.dispose()


def _run(connection: sa.Connection, revision: str, before: Before | None) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    steps = revisions()
    current = _current(connection)
    target = steps[0] if revision == "head" else revision
    if current and current not in steps:
        raise NewerDatabase(current)
    if current == target:
        return
    if current and before is not None:
        before(current)
    down = target == "base" or (current in steps and target in steps and steps.index(target) > steps.index(current))
    (command.downgrade if down else command.upgrade)(config, target)


def _current(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")) or "")
