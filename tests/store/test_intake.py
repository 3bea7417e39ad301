"""The intake says "recorded" only of what is in the database."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from bot.store import deliveries
from bot.store.database import Database, migrate
from bot.store.deliveries import Intake, NewDelivery, Overloaded, Recorded
from models import Delivery

FAILING_COMMIT = {
    "sqlite": [
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE poisoned (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER poison AFTER INSERT ON deliveries WHEN new.event = 'poison' "
        "BEGIN INSERT INTO poisoned VALUES (1); END",
    ],
    "postgresql": [
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$",
        "CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON deliveries DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (new.event = 'poison') EXECUTE FUNCTION poison()",
    ],
}


class Bell:
    """A doorbell that remembers."""

    def __init__(self) -> None:
        self.rung: list[UUID] = []
        self.broken = False

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        assert (queue, after) == ("open", 0.0)
        if self.broken:
            raise ConnectionError("the broker is away")
        self.rung.append(id)


def new(key: str | None = None, event: str = "push", **changes: Any) -> NewDelivery:
    given: dict[str, Any] = {
        "provider": "github",
        "delivery_key": key or str(uuid4()),
        "event": event,
        "headers": b'{"x":"\\u0000"}',
        "body": b'{"ref": "\x00\xff"}',
        "received_at": datetime.now(UTC),
    }
    return NewDelivery(**(given | changes))


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """A migrated database in which the COMMIT of a delivery with the event `poison` fails."""
    database = Database(migrated_url)
    async with database.write() as session:
        for statement in FAILING_COMMIT[database.dialect]:
            await session.execute(sa.text(statement))
    yield database
    await database.close()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def intake(database: Database, migrated_url: str, bell: Bell) -> AsyncIterator[Intake]:
    intake = Intake(migrated_url, bell)
    await intake.start()
    yield intake
    await intake.stop()


async def rows(database: Database) -> Sequence[Delivery]:
    async with database.read() as session:
        return (await session.scalars(sa.select(Delivery))).all()


async def test_a_delivery_is_kept_as_it_came(intake: Intake, database: Database, bell: Bell) -> None:
    """All of it, with the defaults that the model gives, and the bell rings."""
    hook = uuid4()
    delivery = new(hook_id=hook)

    recorded = await intake.record(delivery)

    [row] = await rows(database)
    assert recorded == Recorded(row.id, duplicate=False)
    assert (row.provider, row.delivery_key, row.event) == ("github", delivery.delivery_key, "push")
    assert (row.hook_id, row.headers, row.body) == (hook, delivery.headers, delivery.body)
    assert (row.received_at, row.status) == (delivery.received_at, "recorded")
    assert (row.attempts, row.nudged, row.lease_owner) == (0, 0, None)
    assert row.due_at is not None
    assert row.created_at.tzinfo is not None
    assert bell.rung == [row.id]


async def test_one_delivery_50_times_at_once(intake: Intake, database: Database, bell: Bell) -> None:
    """One row; everybody hears its id; one of them is the first."""
    found = await asyncio.gather(*(intake.record(new("the-same")) for _ in range(50)))

    [row] = await rows(database)
    assert {each.id for each in found} == {row.id}
    assert sorted(each.duplicate for each in found) == [False] + [True] * 49
    assert bell.rung == [row.id]


async def test_the_same_delivery_at_several_intakes(database: Database, migrated_url: str, bell: Bell) -> None:
    """Several processes get the same deliveries in different orders: one row each, and none waits for ever."""
    intakes = [Intake(migrated_url, bell) for _ in range(3)]
    for each in intakes:
        await each.start()
    keys = [f"key-{number}" for number in range(40)]

    found = await asyncio.gather(
        *(intakes[0].record(new(key)) for key in keys),
        *(intakes[1].record(new(key)) for key in reversed(keys)),
        *(intakes[2].record(new(key)) for key in keys[20:] + keys[:20]),
    )

    assert len(await rows(database)) == len({each.id for each in found}) == len(bell.rung) == 40
    assert sum(not each.duplicate for each in found) == 40
    for each in intakes:
        await each.stop()


async def test_the_same_key_on_two_forges(intake: Intake, database: Database) -> None:
    """The id of a delivery is a forge's own."""
    found = await asyncio.gather(intake.record(new("one")), intake.record(new("one", provider="gitea")))

    assert [each.duplicate for each in found] == [False, False]
    assert len(await rows(database)) == 2


async def test_a_failing_commit_keeps_nothing(intake: Intake, database: Database, bell: Bell) -> None:
    """100 COMMITs fail; all 100 callers hear of it."""
    for _ in range(100):
        with pytest.raises((sqlite3.Error, asyncpg.PostgresError)):
            await intake.record(new(event="poison"))

    assert await rows(database) == []
    assert bell.rung == []


async def test_one_that_cannot_be_kept_does_not_fail_its_neighbours(intake: Intake, database: Database) -> None:
    """The batch fails at its COMMIT; each is tried alone, and only the poisoned one is refused."""
    wanted = [new(event="poison" if number == 7 else "push") for number in range(30)]

    found = await asyncio.gather(*(intake.record(each) for each in wanted), return_exceptions=True)

    assert [number for number, each in enumerate(found) if isinstance(each, Exception)] == [7]
    assert len(await rows(database)) == 29


async def test_a_broken_bell_refuses_nothing(intake: Intake, database: Database, bell: Bell) -> None:
    """The sweep rings again; the sender is answered."""
    bell.broken = True

    assert not (await intake.record(new())).duplicate
    assert len(await rows(database)) == 1


async def test_stopping_keeps_what_waits(database: Database, migrated_url: str) -> None:
    """What was taken is written; what comes later is refused."""
    intake = Intake(migrated_url)
    await intake.start()
    waiting = [asyncio.create_task(intake.record(new())) for _ in range(200)]
    await asyncio.sleep(0)

    await intake.stop()

    assert not any(each.duplicate for each in await asyncio.gather(*waiting))
    assert len(await rows(database)) == 200
    with pytest.raises(Overloaded):
        await intake.record(new())


class Slow:
    """A writer that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.batches: list[int] = []

    async def write(self, rows: Sequence[dict[str, Any]]) -> list[UUID]:
        self.batches.append(len(rows))
        await self.go.wait()
        return [row["id"] for row in rows]

    async def close(self) -> None: ...


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(deliveries, "writer_for", lambda url: slow)
    return slow


async def running(**limits: Any) -> Intake:
    intake = Intake("sqlite://", **limits)
    await intake.start()
    return intake


async def test_what_waits_goes_into_one_commit(slow: Slow) -> None:
    """The first goes at once and alone; what came meanwhile goes together, 64 at most."""
    intake = await running()
    waiting = [asyncio.create_task(intake.record(new()))]
    while not slow.batches:
        await asyncio.sleep(0)
    waiting += [asyncio.create_task(intake.record(new())) for _ in range(100)]
    await asyncio.sleep(0)
    slow.go.set()
    await asyncio.gather(*waiting)
    await intake.stop()

    assert slow.batches == [1, 64, 36]


async def test_large_deliveries_go_in_small_batches(slow: Slow) -> None:
    """One transaction takes a bounded number of bytes, and always at least one delivery."""
    intake = await running()
    big = b"x" * (deliveries.BATCH_BYTES // 2)
    slow.go.set()
    await asyncio.gather(*(intake.record(new(body=big)) for _ in range(3)), intake.record(new(body=big * 3)))
    await intake.stop()

    assert slow.batches == [1, 1, 1, 1]


@pytest.mark.parametrize("limits", [{"most_waiting": 3}, {"most_bytes": 3 * new().size}])
async def test_a_full_queue_refuses_at_once(slow: Slow, limits: dict[str, int]) -> None:
    """What cannot wait is refused, what waits is kept."""
    intake = await running(**limits)
    first = asyncio.create_task(intake.record(new()))
    while not slow.batches:
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(intake.record(new())) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await intake.record(new())

    slow.go.set()
    await asyncio.gather(first, *waiting)
    assert not (await intake.record(new())).duplicate
    await intake.stop()


async def test_the_deadline(slow: Slow) -> None:
    """A database that does not answer is told before the sender gives up; nobody writes for those who left."""
    intake = await running(deadline=0.05)
    found = await asyncio.gather(*(intake.record(new()) for _ in range(5)), return_exceptions=True)
    slow.go.set()
    await intake.stop()

    assert all(isinstance(each, Overloaded) for each in found)
    assert sum(slow.batches) <= 5


async def test_an_outage_is_not_tried_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database is away, all that wait hear it from one try."""
    tries = []

    class Away(Slow):
        async def write(self, rows: Sequence[dict[str, Any]]) -> list[UUID]:
            tries.append(len(rows))
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(deliveries, "writer_for", lambda url: Away())
    intake = await running()
    found = await asyncio.gather(*(intake.record(new()) for _ in range(20)), return_exceptions=True)
    await intake.stop()

    assert all(isinstance(each, sqlite3.OperationalError) for each in found)
    assert tries == [20]


async def test_the_database_comes_back(tmp_path: Path) -> None:
    """An intake that started before its database works when that is there."""
    url = f"sqlite+aiosqlite:///{tmp_path}/later.db"
    intake = Intake(url)
    await intake.start()
    with pytest.raises(sqlite3.OperationalError):
        await intake.record(new())

    migrate(url)

    assert not (await intake.record(new())).duplicate
    await intake.stop()


async def test_postgres_drops_the_connection(postgres_url: str) -> None:
    """A cut connection fails what was in it; the next delivery has a new one."""
    migrate(postgres_url)
    intake, database = Intake(postgres_url), Database(postgres_url)
    await intake.start()
    await intake.record(new())
    async with database.write() as session:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        await session.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))

    found = [await asyncio.gather(intake.record(new()), return_exceptions=True) for _ in range(2)]

    assert isinstance(found[-1][0], Recorded)
    kept = sum(isinstance(each, Recorded) for [each] in found) + 1
    assert len(await rows(database)) == kept
    await intake.stop()
    await database.close()
