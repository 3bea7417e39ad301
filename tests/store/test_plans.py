"""No question that Sluice asks reads a growing table from end to end."""

import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from bot.store import heads
from bot.store.database import Database
from bot.store.deliveries import PostgresWriter, SqliteWriter
from models import Base
from tests import plans
from tests.plans import GROWING, Question, full_scans

DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("table", sorted(GROWING))
def test_a_full_scan_is_found(dialect: str, table: str) -> None:
    """Of every growing table, on both databases: without this the other tests could not fail."""
    statement = f"SELECT * FROM {table} WHERE updated_at = created_at"
    assert full_scans(Question(dialect, statement, (), "")) != []
    statement = f"SELECT * FROM {table} WHERE id = '00000000-0000-0000-0000-000000000000'"
    assert full_scans(Question(dialect, statement, (), "")) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM heads WHERE lower(name) = 'main' ORDER BY id",  # a whole index, for its order
        "SELECT mine.id FROM runs AS mine WHERE mine.actor = 'alice'",
        "SELECT count(*) FROM deployments",
        "UPDATE notifications SET attempts = 0 WHERE target = 'x'",
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_is_found_in_disguise(dialect: str, statement: str) -> None:
    """By way of an index, under another name, to count, to change."""
    assert full_scans(Question(dialect, statement, (), "")) != []


async def test_what_sluice_asks_is_heard(migrated_url: str) -> None:
    """A question of the store is heard with the line that asked; a question of the tests is not."""
    database = Database(migrated_url)
    plans._seen.clear()
    plans._new.clear()
    async with database.read() as session:
        await session.execute(sa.select(Base.metadata.tables["heads"]))
        await heads.newest(session, uuid.uuid4(), "branch", "main")
    await database.close()
    [heard] = plans._new
    assert heard.asked_by.startswith("bot/store/heads.py:")
    assert heard.dialect == database.dialect


def test_the_intake_finds_a_delivery_by_its_key() -> None:
    """The intake speaks to the drivers itself."""
    writers = {"sqlite": SqliteWriter("unused.db"), "postgresql": PostgresWriter("postgresql+asyncpg://unused")}
    keys = {"sqlite": {"provider": "github", "delivery_key": "1"}, "postgresql": (["github"], ["1"])}
    for dialect, writer in writers.items():
        assert full_scans(Question(dialect, writer._find, keys[dialect], "")) == []


@pytest.mark.parametrize("table", Base.metadata.sorted_tables, ids=str)
def test_every_foreign_key_has_an_index(table: sa.Table) -> None:
    """Else the deletion of a row reads all tables that could point at it."""
    leading = {next(iter(index.columns)).name for index in table.indexes if not _partial(index)}
    leading |= {next(iter(each.columns)).name for each in table.constraints if isinstance(each, sa.UniqueConstraint)}
    assert {key.parent.name for key in table.foreign_keys} - leading == set()


def _partial(index: sa.Index) -> bool:
    return index.dialect_options["postgresql"]["where"] is not None
