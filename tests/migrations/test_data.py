"""What a database holds survives every migration, there and back."""

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from bot.store.database import migrate, revisions
from models import Base
from tests.migrations.rows import Rows, ask, data, load, read, tables

pytestmark = pytest.mark.thorough

OLDEST_FIRST = revisions()[::-1]


@pytest.mark.parametrize("revision", OLDEST_FIRST)
async def test_the_data_file_is_whole(revision: str, tmp_path: Any) -> None:
    """Rows in every table of the revision, and a value in every column."""
    url = f"sqlite+aiosqlite:///{tmp_path}/sluice.db"
    migrate(url, revision)
    there = await ask(
        url, lambda connection: {name: set(table.columns.keys()) for name, table in tables(connection).items()}
    )
    filled = {
        name: {column for row in rows for column, value in row.items() if value is not None}
        for name, rows in data(revision).items()
    }
    assert filled == there
    assert min(len(rows) for rows in data(revision).values()) >= 2


@pytest.mark.parametrize("revision", [*OLDEST_FIRST[:-1], pytest.param(OLDEST_FIRST[-1], marks=pytest.mark.long)])
async def test_up_down_and_up_again(database_url: str, revision: str) -> None:
    """Every value of every row is the same before and after, and is kept on the way."""
    migrate(database_url, revision)
    await load(database_url, revision)
    before = await read(database_url)
    assert {name: len(rows) for name, rows in before.items()} == {
        name: len(rows) for name, rows in data(revision).items()
    }

    migrate(database_url)
    above = await read(database_url)
    assert lost(before, above) == []
    migrate(database_url, revision)
    assert await read(database_url) == before
    migrate(database_url)
    assert await read(database_url) == above
    assert await pointing_at_nothing(database_url) == []


@pytest.mark.parametrize(("newer", "older"), list(itertools.pairwise(revisions())))
async def test_what_the_older_version_can_hold_is_kept(database_url: str, newer: str, older: str) -> None:
    """Down with data of the newer version: no row of the older's tables is lost, and it comes up again."""
    migrate(database_url, newer)
    await load(database_url, newer)
    before = await read(database_url)
    migrate(database_url, older)
    below = await read(database_url)
    migrate(database_url)

    live = {
        name: {id: _below(row, below[name], older) for id, row in rows.items() if row.get("deleted_at") is None}
        for name, rows in before.items()
        if name in below
    }
    assert lost(live, below) == []
    assert {name: len(rows) for name, rows in before.items() if name in below} == {
        name: len(rows) for name, rows in below.items()
    }
    assert await pointing_at_nothing(database_url) == []


@pytest.mark.parametrize("revision", OLDEST_FIRST)
async def test_down_to_nothing(database_url: str, revision: str) -> None:
    """Tables that hold rows can be taken away, too."""
    migrate(database_url, revision)
    await load(database_url, revision)
    migrate(database_url, "base")
    assert await read(database_url) == {}


async def test_what_was_deleted_keeps_out_of_the_way(database_url: str) -> None:
    """A version without soft deletion finds the deleted project and environment under names of their own."""
    migrate(database_url, "0002")
    await load(database_url, "0002")
    migrate(database_url, "0001")
    below = await read(database_url)
    deleted = {row["id"] for name in ("projects", "environments") for row in data("0002")[name] if row["deleted_at"]}

    renamed = {str(id): row for name in ("projects", "environments") for id, row in below[name].items()}
    assert len(deleted) == 2
    for id in deleted:
        names = [renamed[id][name] for name in ("slug", "namespace", "name", "target_namespace") if name in renamed[id]]
        assert any("-" in name for name in names)
        assert renamed[id].get("gitops_resource_id") is None


WORDS = {  # that a version does not know, and what it calls them
    "0001": {"status": {"disabling": "failed", "disabled": "failed"}},
    "0002": {"trigger": {"rollback": "deploy", "promote": "deploy", "resume": "unpin"}},
}


def _below(row: dict[str, Any], rows: dict[Any, dict[str, Any]], older: str) -> dict[str, Any]:
    """The columns that the older version has, with the words that it knows."""
    columns = next(iter(rows.values())).keys()
    words = WORDS.get(older, {})
    return {
        name: words[name].get(value, value) if name in words else value
        for name, value in row.items()
        if name in columns
    }


def lost(before: Rows, after: Rows) -> list[str]:
    """The values that are no longer what they were."""
    return [
        f"{name}.{column} of {id}: {value!r}"
        for name, rows in before.items()
        for id, row in rows.items()
        for column, value in row.items()
        if after.get(name, {}).get(id, {}).get(column, "gone") != value
    ]


async def pointing_at_nothing(url: str) -> list[str]:
    """Rows whose foreign keys have nothing at their end."""

    def look(connection: sa.Connection) -> list[str]:
        found = []
        for table in Base.metadata.sorted_tables:
            for key in table.foreign_keys:
                there = sa.select(key.column)
                query = sa.select(table.c.id).where(key.parent.is_not(None), key.parent.not_in(there))
                found += [f"{table.name}.{key.parent.name} of {id}" for id in connection.execute(query).scalars()]
        return found

    answer: list[str] = await ask(url, look)
    return answer


async def test_indexes_are_what_the_models_say(database_url: str) -> None:
    """Also the conditions of the partial ones, which comparing models and tables does not look at."""
    migrate(database_url)

    def partial(connection: sa.Connection) -> dict[str, str]:
        if connection.dialect.name == "sqlite":
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'"
        else:
            query = "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '% WHERE %'"
        return {row[0]: _condition(row[1]) for row in connection.execute(sa.text(query))}

    described = {
        index.name: _condition(f" WHERE {where}")
        for table in Base.metadata.sorted_tables
        for index in table.indexes
        if (where := index.dialect_options["postgresql"]["where"]) is not None
    }
    assert await ask(database_url, partial) == described


def _condition(sql: str) -> str:
    return sql.rpartition(" WHERE ")[2].replace("(", "").replace(")", "").replace("::text", "").strip()
