"""Backups of the database before a migration changes it."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from bot.core.errors import BotError

PG_DUMP = "pg_dump"


class BackupFailed(BotError):
    """The database could not be backed up, so nothing was changed."""


def of_sqlite(file: Path, to: Path) -> None:
    """Copy a database that others may be using; `to` is there whole or not at all."""
    half = to.with_name(to.name + ".half")
    try:
        half.unlink(missing_ok=True)
        _copy(file, half)
        shutil.copymode(file, half)
        _flush(half)
        half.replace(to)
    except (sqlite3.Error, OSError) as error:
        half.unlink(missing_ok=True)
        raise BackupFailed(f"the backup {to} could not be written ({error}); nothing was changed") from error


def _copy(file: Path, to: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without others beside it
        [result] = target.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise sqlite3.DatabaseError(f"it is damaged: {result}")


def _flush(file: Path) -> None:
    """Wait for the disk."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def of_postgresql(url: sa.URL, to: Path) -> None:
    """Have pg_dump write everything to a file; `to` is there whole or not at all."""
    half = to.with_name(to.name + ".half")
    try:
        # The password goes by the environment: arguments are to be seen by everybody on the machine.
        done = subprocess.run(  # noqa: S603 - our own arguments
            [*command(url, half), "--no-password"],
            env=os.environ | _environment(url),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise BackupFailed(f"{PG_DUMP} could not be started ({error.strerror}); nothing was changed") from error
    if done.returncode:
        half.unlink(missing_ok=True)
        raise BackupFailed(f"{PG_DUMP} failed, nothing was changed: {done.stderr.strip()}")
    half.replace(to)


def command(url: sa.URL, to: Path) -> list[str]:
    """The command that backs a PostgreSQL database up; it holds no password."""
    where = {
        "host": url.host or url.query.get("host"),
        "port": url.port or url.query.get("port"),
        "username": url.username,
        "dbname": url.database,
    }
    options = [f"--{name}={value}" for name, value in where.items() if value]
    return [PG_DUMP, "--format=custom", f"--file={to}", *options]


def _environment(url: sa.URL) -> Mapping[str, str]:
    ssl = url.query.get("sslmode") or url.query.get("ssl")
    found = {"PGPASSWORD": url.password, "PGSSLMODE": ssl}
    return {name: str(value) for name, value in found.items() if value}
