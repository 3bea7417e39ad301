"""Bringing the database up to date: backed up first, or only said what would be done."""

import shlex
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from bot.core.errors import ConfigError
from bot.store import backups
from bot.store.database import migrate

Say = Callable[[str], None]


def bring_up_to_date(url: str, say: Say, *, backed_up: bool = False, backup: Path | None = None) -> None:
    """Migrate the database; one that holds anything is backed up first, or was (`backed_up`)."""
    parsed = sa.make_url(url)

    def before(revision: str) -> None:
        if parsed.get_backend_name() == "sqlite":
            _back_up_sqlite(Path(parsed.database or ""), revision, backup, say)
        elif backup is not None:
            backups.of_postgresql(parsed, backup)
            say(f"The database was backed up to {backup}.")
        elif not backed_up:
            raise _backup_wanted(parsed, revision)

    migrate(url, before=before)


def _back_up_sqlite(file: Path, revision: str, to: Path | None, say: Say) -> None:
    to = to or file.with_name(f"{file.name}.{revision}.backup")
    backups.of_sqlite(file, to)
    say(f"The database was backed up to {to}.")


def _backup_wanted(url: sa.URL, revision: str) -> ConfigError:
    command = shlex.join(backups.command(url, Path(f"sluice-{revision}.dump")))
    return ConfigError(
        f"the database is at migration {revision} and is to be changed; back it up first:\n\n  {command}\n\n"
        "then run: sluice migrate --backed-up\n"
        "(or have it done: sluice migrate --backup FILE)"
    )
