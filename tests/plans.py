"""Watches what Sluice asks the database while tests run, and reads how both databases would answer it."""

import asyncio
import re
import sqlite3
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import greenlet
import msgspec
import pytest
import sqlalchemy as sa

from bot.store.database import migrate
from models import Base
from models.base import UtcDateTime, Word
from tests.postgres import in_thread, new_database

ROOT = Path(__file__).parents[1]
GROWING = frozenset(
    {
        "approvals",
        "deliveries",
        "deployments",
        "git_sync_logs",
        "gitops_resources",
        "heads",
        "holds",
        "locks",
        "notifications",
        "pins",
        "project_initialization_steps",
        "runs",
        "unified_events",
    }
)
MANY = 2000
SHORT = frozenset({"ix_unified_events_unchained"})  # indexes that hold but the few rows that are to be worked on


class Question(NamedTuple):
    """A statement as the driver got it, and the line of Sluice's that asked."""

    dialect: str
    statement: str
    parameters: Any
    asked_by: str


_seen: set[tuple[str, str]] = set()
_new: list[Question] = []


@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def _watch(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    key = (connection.dialect.name, statement)
    if key in _seen or not re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
        return
    asked_by = _asker()
    if asked_by is not None:
        _seen.add(key)
        several = many and isinstance(parameters[0], (tuple, list, dict))  # rows in one INSERT come as one row
        _new.append(Question(*key, parameters[0] if several else parameters, asked_by))


def _asker() -> str | None:
    """The line of Sluice's that asked; SQLAlchemy asks in a greenlet, the rest of whose stack its parent has."""
    current = greenlet.getcurrent()
    for frame in (sys._getframe(), current.parent.gr_frame if current.parent else None):
        while frame is not None:
            place = _place(frame.f_code.co_filename)
            if place:
                return f"{place}:{frame.f_lineno}" if place.startswith(("bot/", "handlers/")) else None
            frame = frame.f_back
    return None


@cache
def _place(name: str) -> str:
    """Where a file of this project is; empty for others', and for this one."""
    file = Path(name)
    mine = file.is_relative_to(ROOT) and file != Path(__file__) and ".venv" not in file.parts
    return str(file.relative_to(ROOT)) if mine else ""


@pytest.fixture(autouse=True)
def plans() -> Iterator[None]:
    """Fail the test if something that Sluice asked for the first time reads a growing table from end to end."""
    yield
    asked = _new[:]
    _new.clear()
    bad = [f"{each.asked_by}: {scan}\n{each.statement}" for each in asked for scan in full_scans(each)]
    assert not bad, "\n\n".join(bad)


def full_scans(question: Question) -> list[str]:
    """The growing tables that the database would read in full to answer."""
    explain = _on_sqlite if question.dialect == "sqlite" else _on_postgresql
    return explain(question.statement, question.parameters)


@cache
def _sqlite() -> sqlite3.Connection:
    with tempfile.TemporaryDirectory() as folder:
        migrate(f"sqlite+aiosqlite:///{folder}/plans.db")
        kept = sqlite3.connect(":memory:", check_same_thread=False)
        with sqlite3.connect(f"{folder}/plans.db") as migrated:
            migrated.backup(kept)
        migrated.close()
    return kept


def _on_sqlite(statement: str, parameters: Sequence[Any]) -> list[str]:
    steps = [row[3] for row in _sqlite().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    aliases = dict(re.findall(r"\b(\w+) AS (\w+)\b", statement))
    names = {alias: table for table, alias in aliases.items()}
    found = []
    for step in steps:
        scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if scan and names.get(scan[1], scan[1]) in GROWING and scan[2] not in SHORT:
            found.append(step)
    return found


@cache
def _postgresql() -> str:
    url = new_database()
    migrate(url)
    url = urlunsplit(urlsplit(url)._replace(scheme="postgresql"))

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("SET session_replication_role = replica")  # rows may point at nothing
        for table in Base.metadata.sorted_tables:
            await connection.execute(_rows(table))
        await connection.execute("ANALYZE")
        await connection.close()

    in_thread(fill())
    return url


def _rows(table: sa.Table) -> str:
    """Many rows: PostgreSQL takes any index of an empty table for as good as any other."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    values = ", ".join(_value(column) for column in table.columns)
    return f'INSERT INTO "{table.name}" ({names}) SELECT {values} FROM generate_series(1, {MANY}) AS i'


def _value(column: sa.Column[Any]) -> str:
    found = {
        sa.Boolean: "i % 2 = 0",
        sa.Integer: "i",
        sa.BigInteger: "i",
        sa.JSON: "'{}'::json",
        sa.LargeBinary: "''",
        sa.Text: f"md5(i || '{column.name}')",
        sa.Uuid: "gen_random_uuid()",
        UtcDateTime: "now() - i * interval '1 minute'",
    }
    kind = column.type
    if isinstance(kind, Word):
        value = f"(ARRAY[{', '.join(map(repr, kind.words))}])[1 + i % {len(kind.words)}]"
    else:
        value = found[type(kind)]
    return f"CASE WHEN i % 2 = 0 THEN {value} END" if column.nullable else value


@cache
def _leading() -> dict[str, str]:
    """The first column of every index: without it in its condition an index is read from end to end."""
    found: dict[str, str] = {}
    query = """
        SELECT name.relname, first.attname FROM pg_index JOIN pg_class AS name ON name.oid = indexrelid
        JOIN pg_attribute AS first ON first.attrelid = indexrelid AND first.attnum = 1
    """

    async def ask() -> None:
        connection = await asyncpg.connect(_postgresql())
        found.update((row[0], row[1]) for row in await connection.fetch(query))
        await connection.close()

    in_thread(ask())
    return found


class _Asker:
    """A thread with a connection that stays open to the end of the process: to connect takes longer than to ask."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._connection = self._run(asyncpg.connect(url))
        self._run(self._connection.execute("SET enable_seqscan = off"))

    def explain(self, statement: str, parameters: Sequence[Any]) -> str:
        """The plan, as JSON."""
        return str(self._run(self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters)))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.submit(self._runner.run, work).result()


@cache
def _asker_of(url: str) -> _Asker:
    return _Asker(url)


def _on_postgresql(statement: str, parameters: Sequence[Any]) -> list[str]:
    answer = _asker_of(_postgresql()).explain(statement, parameters)
    return [bad for plan in msgspec.json.decode(answer) for bad in _bad_nodes(plan["Plan"])]


def _bad_nodes(node: dict[str, Any], *, first_few: bool = False) -> Iterator[str]:
    """Scans of a whole table, or of a whole index; the first rows of an index are no whole."""
    kind, filtered = node["Node Type"], "Filter" in node
    index, table = node.get("Index Name"), node.get("Relation Name") or _table_of(node.get("Index Name", ""))
    whole = kind == "Seq Scan" or (index is not None and index not in SHORT and not _narrowed(index, node))
    if whole and table in GROWING and not (first_few and kind != "Seq Scan" and not filtered):
        yield f"{kind} {table} {index or ''}".strip()
    for child in node.get("Plans", ()):
        yield from _bad_nodes(child, first_few=kind == "Limit")


def _narrowed(index: str, node: dict[str, Any]) -> bool:
    return re.search(rf"\b{_leading()[index]}\b", node.get("Index Cond", "")) is not None


def _table_of(index: str) -> str:
    """A Bitmap Index Scan names its index only, and ours are named after their tables."""
    return max((table for table in GROWING if f"_{table}_" in f"{index}_"), key=len, default="")
