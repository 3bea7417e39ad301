"""How many deliveries are kept a second: one COMMIT for all that wait, against one session for each request.

Run `python -m bench.intake`; it prints one JSON object a line and takes about 20 seconds. Both keep the same promise on
the same disk (SQLite, WAL, synchronous=FULL), one after the other in turns; the ratio counts, the rates are this box's.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from bot.store.database import migrate
from bot.store.deliveries import Intake, NewDelivery
from models import Delivery

SENDERS = 64
ROUNDS = 3
SECONDS = 2.0
BODY = os.urandom(12_000)
HEADERS = b'{"x-github-event": "push"}'

Record = Callable[[NewDelivery], Awaitable[object]]


def delivery() -> NewDelivery:
    """A push of the usual size."""
    return NewDelivery(
        provider="github",
        delivery_key=str(uuid4()),
        event="push",
        headers=HEADERS,
        body=BODY,
        received_at=datetime.now(UTC),
    )


async def measure(record: Record) -> tuple[float, list[float]]:
    """Deliveries a second, and how long each took in milliseconds."""
    times: list[float] = []
    begun = time.perf_counter()

    async def sender() -> None:
        while (start := time.perf_counter()) < begun + SECONDS:
            await record(delivery())
            times.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return len(times) / (time.perf_counter() - begun), times


class SessionPerRequest:
    """The usual way: an engine with its default pool, a session and a COMMIT for each request."""

    def __init__(self, url: str) -> None:
        self.engine = create_async_engine(url, connect_args={"timeout": 30})
        sa.event.listen(self.engine.sync_engine, "connect", self._connected)
        sa.event.listen(self.engine.sync_engine, "begin", self._begun)

    @staticmethod
    def _connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @staticmethod
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def record(self, new: NewDelivery) -> None:
        """Insert and commit."""
        fields = {name: getattr(new, name) for name in new.__struct_fields__}
        statement = insert(Delivery).values(**fields).on_conflict_do_nothing().returning(Delivery.id)
        async with AsyncSession(self.engine) as session, session.begin():
            await session.execute(statement)


def fsyncs(folder: str) -> float:
    """How often a second the disk says that 8 KB are safe."""
    block = os.urandom(8192)
    with Path(folder, "fsync").open("wb", buffering=0) as file:
        begun, count = time.perf_counter(), 0
        while time.perf_counter() < begun + 1:
            file.seek(0)
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.perf_counter() - begun)


def tell(name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None) -> None:
    """One line of the result."""
    ratio = None if peer_value is None else round(value / peer_value, 3)
    line = {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "peer": peer or None,
        "peer_value": None if peer_value is None else round(peer_value, 2),
        "ratio": ratio,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def p99(times: list[float]) -> float:
    """What all but one in a hundred stay below."""
    return statistics.quantiles(times, n=100)[98]


async def main() -> None:
    """Measure in turns, tell the medians."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        ours, theirs = (f"sqlite+aiosqlite:///{folder}/{name}.db" for name in ("group", "session"))
        for url in (ours, theirs):
            migrate(url)
        disk = fsyncs(folder)
        intake, naive = Intake(ours), SessionPerRequest(theirs)
        await intake.start()
        found = [(await measure(intake.record), await measure(naive.record)) for _ in range(ROUNDS)]
        await intake.stop()
        await naive.engine.dispose()
    peer = "a SQLAlchemy session per request"
    tell("fsync of this disk, 8 KB", disk, "1/s")
    tell(
        "durable deliveries",
        statistics.median(a[0] for a, _ in found),
        "1/s",
        peer,
        statistics.median(b[0] for _, b in found),
    )
    tell(
        "delivery kept, p99",
        statistics.median(p99(a[1]) for a, _ in found),
        "ms",
        peer,
        statistics.median(p99(b[1]) for _, b in found),
    )
    alone = await one_at_a_time()
    tell("delivery kept when nothing else waits, p50", statistics.median(alone), "ms")


async def one_at_a_time() -> list[float]:
    """The wait of a delivery that comes alone."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        url = f"sqlite+aiosqlite:///{folder}/alone.db"
        migrate(url)
        intake = Intake(url)
        await intake.start()
        times = []
        for _ in range(500):
            start = time.perf_counter()
            await intake.record(delivery())
            times.append((time.perf_counter() - start) * 1000)
        await intake.stop()
    return times


if __name__ == "__main__":
    asyncio.run(main())
