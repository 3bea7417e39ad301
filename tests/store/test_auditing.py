"""`sluice audit verify` and `sluice purge`, as an operator calls them."""

import asyncio
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.auditing import Nobody
from bot.core.sealing import Keyring
from bot.store import chain, log
from bot.store.database import Database, migrate
from bot.store.transactions import Store
from models.base import now

KEY = "0123456789abcdef" * 4


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/sluice.db"
    monkeypatch.setenv("SLUICE_DATABASE_URL", url)
    monkeypatch.setenv("SLUICE_SECRET_KEYS", KEY)
    migrate(url.replace("sqlite:", "sqlite+aiosqlite:"))
    return url.replace("sqlite:", "sqlite+aiosqlite:")


def log_of_three(url: str, *, edited: bool = False) -> None:
    async def make() -> None:
        database = Database(url)
        store = Store(database, Nobody(), now)
        async with store.write() as tx:
            for number in range(3):
                log.record(tx.session, "thing.happened", number=number)
        await chain.Appender(store, Keyring([bytes.fromhex(KEY)])).append()
        if edited:
            async with store.write() as tx:
                statement = chain.EVENTS.update().where(chain.EVENTS.c.sequence == 2).values(actor="mallory")
                await (await tx.session.connection()).execute(statement)
        await database.close()

    asyncio.run(make())


def sluice(*words: str) -> int:
    """Its exit code."""
    try:
        main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_log_as_it_was_written(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    log_of_three(database)
    assert sluice("audit", "verify") == 0
    assert "3 events (1 to 3), 0 not chained yet" in " ".join(capsys.readouterr().out.split())


def test_an_edited_row_is_named_and_exits_with_1(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    log_of_three(database, edited=True)
    assert sluice("audit", "verify") == 1
    assert "2 was changed" in capsys.readouterr().err


def test_a_purge(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    log_of_three(database)
    assert sluice("purge", "--events-older-than", "180d") == 0
    assert "0 events were removed" in capsys.readouterr().out
    for wrong in ("180", "d", "-1d", "1y", ""):
        assert sluice("purge", "--events-older-than", wrong) == 2
    assert sluice("purge") == 2


def test_no_tables_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    assert sluice("audit", "verify") == 2
    assert "sluice migrate" in capsys.readouterr().err
