"""Deliveries: webhook requests, kept before they are answered."""

import asyncio
import sqlite3
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from bot import log
from bot.core.errors import BotError
from bot.core.ports import Bell
from bot.store.database import open_sqlite
from models import Delivery

BATCH = 64
BATCH_BYTES = 8 * 1024 * 1024
BUSY_MS = 5_000  # less than the deadline, so that a lock held by others is told and not waited for twice

logger = log.get(__name__)


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A verified webhook request. `headers` is a JSON object of lower-case names."""

    provider: str
    delivery_key: str
    event: str
    headers: bytes
    body: bytes
    received_at: datetime
    hook_id: UUID | None = None

    @property
    def size(self) -> int:
        """The bytes that it holds in memory."""
        return len(self.body) + len(self.headers)


class Recorded(msgspec.Struct, frozen=True):
    """The row that a delivery has, now or already before."""

    id: UUID
    duplicate: bool


class Overloaded(BotError):
    """The delivery could not be kept in time; the sender may try again later."""


Row = dict[str, Any]
Outcome = Recorded | Exception


class Writer(Protocol):
    """Writes rows in one transaction; the ids that their keys have afterwards."""

    async def write(self, rows: Sequence[Row]) -> list[UUID]: ...
    async def close(self) -> None: ...


class _Waiting(msgspec.Struct):
    delivery: NewDelivery
    future: "asyncio.Future[Recorded]"


class Intake:
    """Keeps deliveries: one writer, and whatever waits for it goes into one COMMIT.

    A delivery is recorded only when its COMMIT returned. Where a COMMIT of several fails, each is tried alone, so that
    one that cannot be kept does not fail its neighbours. Use it from one event loop.
    """

    def __init__(
        self,
        database_url: str,
        bell: Bell | None = None,
        *,
        deadline: float = 8.0,
        most_waiting: int = 4096,
        most_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        self._url = database_url
        self._bell = bell
        self._deadline = deadline
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._writer: Writer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the database and begin to write."""
        self._stopping = False
        self._writer = writer_for(self._url)
        self._task = asyncio.create_task(self._work(self._writer))

    async def stop(self) -> None:
        """Write what waits, then close; later deliveries are refused."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._writer is not None:
            await self._writer.close()
            self._writer = None

    async def record(self, delivery: NewDelivery) -> Recorded:
        """Keep a delivery; returns after COMMIT. Overloaded, or the database's own error, means: not (surely) kept."""
        if self._stopping or self._task is None:
            raise Overloaded("the server is stopping")
        full = len(self._queue) >= self._most_waiting or self._bytes + delivery.size > self._most_bytes
        if full and self._queue:
            raise Overloaded("too many deliveries are waiting to be kept")
        waiting = _Waiting(delivery, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._bytes += delivery.size
        self._wake.set()
        try:
            async with asyncio.timeout(self._deadline):
                return await waiting.future
        except TimeoutError:
            raise Overloaded("the database did not keep the delivery in time") from None

    async def _work(self, writer: Writer) -> None:
        while True:
            if not self._queue:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            if batch:
                await self._keep(writer, batch)

    def _take(self) -> list[_Waiting]:
        """The next batch, without those that nobody waits for any more."""
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < BATCH and (not batch or size + self._queue[0].delivery.size <= BATCH_BYTES):
            waiting = self._queue.popleft()
            self._bytes -= waiting.delivery.size
            if not waiting.future.done():
                batch.append(waiting)
                size += waiting.delivery.size
        return batch

    async def _keep(self, writer: Writer, batch: list[_Waiting]) -> None:
        outcomes = await _write(writer, [_row(waiting.delivery) for waiting in batch])
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.future.done():
                pass
            elif isinstance(outcome, Recorded):
                waiting.future.set_result(outcome)
            else:
                waiting.future.set_exception(outcome)
        for outcome in outcomes:
            if isinstance(outcome, Recorded) and not outcome.duplicate:
                self._ring(outcome.id)

    def _ring(self, id: UUID) -> None:
        if self._bell is None:
            return
        try:
            self._bell.ring("open", id)
        except Exception:  # a lost ring loses nothing: the sweep rings again
            logger.warning("the doorbell failed", delivery=str(id), exc_info=True)


async def _write(writer: Writer, rows: list[Row]) -> list[Outcome]:
    """Write all rows in one transaction or, if that fails, each in its own."""
    try:
        return _recorded(rows, await writer.write(rows))
    except Exception as error:  # whatever it is, nobody may be told that it is kept
        logger.warning("a batch of deliveries was not kept", size=len(rows), error=_words(error))
        if len(rows) == 1 or is_outage(error):
            return [error] * len(rows)
    outcomes: list[Outcome] = []
    for row in rows:
        outcomes += await _write(writer, [row])
        last = outcomes[-1]
        if isinstance(last, Exception) and is_outage(last):
            return outcomes + [last] * (len(rows) - len(outcomes))
    return outcomes


def _recorded(rows: list[Row], ids: list[UUID]) -> list[Outcome]:
    """A row that has another id than ours was there before."""
    return [Recorded(id, duplicate=id != row["id"]) for row, id in zip(rows, ids, strict=True)]


OUTAGES = (
    OSError,
    TimeoutError,
    sqlite3.OperationalError,
    sa.exc.OperationalError,
    sa.exc.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


def is_outage(error: Exception) -> bool:
    """Whether the database itself is in trouble, so that trying row by row only adds to it."""
    return isinstance(error, OUTAGES)


def _words(error: Exception) -> str:
    """One line without the driver's details, in which a delivery's own words may be."""
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]


TABLE: sa.Table = Delivery.__table__  # type: ignore[assignment]  # declarative calls it a FromClause


def _row(delivery: NewDelivery) -> Row:
    """All columns of the new row, with the defaults that the model gives."""
    row = {column.name: _default(column) for column in TABLE.columns}
    row |= {name: getattr(delivery, name) for name in delivery.__struct_fields__}
    return row


def _default(column: sa.Column[Any]) -> Any:
    default = column.default
    if isinstance(default, sa.ColumnDefault):
        return default.arg(None) if default.is_callable else default.arg
    return None


def writer_for(url: str) -> Writer:
    """The writer for the database that the URL names."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteWriter(str(parsed.database))
    return PostgresWriter(url)


def _converters(dialect: sa.Dialect) -> dict[str, Callable[[Any], Any]]:
    """What each column's type does to a value on its way into the database."""
    found = {column.name: column.type.dialect_impl(dialect).bind_processor(dialect) for column in TABLE.columns}
    return {name: convert for name, convert in found.items() if convert is not None}


class SqliteWriter:
    """Writes in a thread of its own, on the driver itself: one row costs less than a session's bookkeeping."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._connection: sqlite3.Connection | None = None
        names = [column.name for column in TABLE.columns]
        self._converters = _converters(sqlite.dialect())
        self._insert = (
            f"INSERT INTO {TABLE.name} ({', '.join(names)}) "  # noqa: S608 - names of our own columns only
            f"VALUES ({', '.join(':' + name for name in names)}) "
            "ON CONFLICT (provider, delivery_key) DO NOTHING RETURNING id"
        )
        self._find = (
            f"SELECT id FROM {TABLE.name} "  # noqa: S608 - names of our own columns only
            "WHERE provider = :provider AND delivery_key = :delivery_key"
        )

    async def write(self, rows: Sequence[Row]) -> list[UUID]:
        """One transaction in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, rows)

    def _transaction(self, rows: Sequence[Row]) -> list[UUID]:
        if self._connection is None:
            self._connection = open_sqlite(self._path, busy_ms=BUSY_MS)
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            ids = [self._one(connection, row) for row in rows]
            connection.execute("COMMIT")
        except sqlite3.OperationalError:  # the file may be another one when it is back
            self._connection = None
            connection.close()
            raise
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return ids

    def _one(self, connection: sqlite3.Connection, row: Row) -> UUID:
        values = dict(row)
        for name, convert in self._converters.items():
            values[name] = convert(values[name])
        found = connection.execute(self._insert, values).fetchall()
        if not found:
            found = connection.execute(self._find, values).fetchall()
        return uuid.UUID(found[0][0])

    async def close(self) -> None:
        """End the thread and its connection."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown()


class PostgresWriter:
    """Writes whole batches as arrays, on one connection."""

    def __init__(self, url: str) -> None:
        self._engine: AsyncEngine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=BUSY_MS / 1000)
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        self._columns = [column.name for column in TABLE.columns]
        arrays = ", ".join(
            f"${number}::{column.type.compile(dialect=dialect)}[]" for number, column in enumerate(TABLE.columns, 1)
        )
        self._insert = (
            f"INSERT INTO {TABLE.name} ({', '.join(self._columns)}) "  # noqa: S608 - names of our own columns only
            f"SELECT * FROM unnest({arrays}) "
            "ON CONFLICT (provider, delivery_key) DO NOTHING"
        )
        self._find = (
            "SELECT asked.number, kept.id "  # noqa: S608 - names of our own columns only
            "FROM unnest($1::text[], $2::text[]) WITH ORDINALITY "
            f"AS asked (provider, delivery_key, number) JOIN {TABLE.name} AS kept USING (provider, delivery_key)"
        )

    async def write(self, rows: Sequence[Row]) -> list[UUID]:
        """One transaction; ordered by key, so that two processes with equal deliveries cannot block each other."""
        ordered = sorted(rows, key=lambda row: (row["provider"], row["delivery_key"]))
        async with self._engine.connect() as connection:
            driver = await _driver(connection)
            try:
                async with driver.transaction():
                    await driver.execute(self._insert, *([row[name] for row in ordered] for name in self._columns))
                    keys = ([row[name] for row in rows] for name in ("provider", "delivery_key"))
                    found = dict(await driver.fetch(self._find, *keys))
            except BaseException:
                if driver.is_closed() or driver.is_in_transaction():
                    await connection.invalidate()
                raise
        return [UUID(bytes=found[number].bytes) for number in range(1, len(rows) + 1)]

    async def close(self) -> None:
        """Give the connection back."""
        await self._engine.dispose()


async def _driver(connection: AsyncConnection) -> Any:
    """The driver's own connection, a living one."""
    driver = (await connection.get_raw_connection()).driver_connection
    if driver is not None and driver.is_closed():
        await connection.invalidate()
        driver = (await connection.get_raw_connection()).driver_connection
    return driver


async def unopened_before(session: AsyncSession, provider: str, moment: datetime) -> bool:
    """Whether a delivery that was received before is still to be opened."""
    query = sa.select(Delivery.id).where(
        Delivery.provider == provider, Delivery.status == "recorded", Delivery.received_at < moment
    )
    return (await session.execute(query.limit(1))).scalar_one_or_none() is not None
