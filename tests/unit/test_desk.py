"""Leases and desks: one worker at a time on a row, no ring lost, and an end to everything."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import sqlalchemy as sa

from bot.core.errors import TemporaryError
from bot.store import leases
from bot.store.database import Database
from bot.store.desk import MAX_ATTEMPTS, Desk, serve
from bot.store.leases import LEASE
from bot.store.transactions import Store
from models import Delivery
from models.base import now


class Bell:
    """Remembers the rings."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, float]] = []

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        self.rings.append((queue, after))


class Clock:
    """A time that only a test moves."""

    def __init__(self) -> None:
        self.now = now()

    def __call__(self) -> datetime:
        return self.now


class Shop:
    """A store with one delivery in it, and a desk whose work a test gives."""

    def __init__(self, url: str) -> None:
        self.bell, self.clock = Bell(), Clock()
        self.store = Store(Database(url, writers=4), self.bell, self.clock)
        self.id = uuid4()
        self.given_up: list[str] = []
        self.worked: list[int] = []
        self.error: Exception | None = None
        self.during: list[object] = []
        self.desk = Desk("open", Delivery, ("recorded",), self.work, self.give_up)

    async def fill(self) -> None:
        async with self.store.write() as tx:
            row = {"provider": "github", "delivery_key": "1", "event": "push", "headers": b"{}", "body": b"{}"}
            tx.session.add(Delivery(id=self.id, received_at=tx.now, created_at=tx.now, due_at=tx.now, **row))

    async def work(self, row: Delivery) -> datetime | None:
        self.worked.append(row.attempts)
        if self.error is not None:
            raise self.error
        async with self.store.write() as tx:
            mine = await leases.owned(tx.session, row)
            assert mine is not None
            mine.status, mine.due_at = "opened", None
        return None

    async def give_up(self, row: Delivery, why: str) -> None:
        self.given_up.append(why)
        async with self.store.write() as tx:
            await tx.session.execute(sa.update(Delivery).values(status="failed", due_at=None))

    async def serve(self) -> None:
        await serve(self.store, self.desk, self.id)

    async def row(self) -> Delivery:
        async with self.store.read() as session:
            return await session.get_one(Delivery, self.id)

    async def take(self) -> Delivery | None:
        async with self.store.write() as tx:
            return await leases.take(tx.session, Delivery, self.id, ("recorded",), tx.now)

    async def due(self) -> list[UUID]:
        async with self.store.read() as session:
            return await leases.due(session, Delivery, ("recorded",), self.clock())


@pytest_asyncio.fixture
async def shop(migrated_url: str) -> AsyncIterator[Shop]:
    found = Shop(migrated_url)
    await found.fill()
    yield found
    await found.store.database.close()


async def test_one_at_a_time(shop: Shop) -> None:
    """Of ten workers that come at once one gets the row."""
    taken = await asyncio.gather(*(shop.take() for _ in range(10)))

    assert len([row for row in taken if row is not None]) == 1


async def test_what_the_dead_held_is_free_and_due(shop: Shop) -> None:
    """Before the lease ends, and whoever comes back from the dead writes nothing."""
    dead = await shop.take()
    assert dead is not None
    assert await shop.due() == []
    async with shop.store.write() as tx:
        await leases.take_from_the_dead(tx.session, Delivery, ("recorded",), tx.now)
    assert await shop.due() == [shop.id]
    async with shop.store.write() as tx:
        assert await leases.owned(tx.session, dead) is None
    assert await shop.take() is not None


async def test_a_lease_that_ran_out(shop: Shop) -> None:
    """Then somebody else gets the row, and the first one owns it no more."""
    first = await shop.take()
    shop.clock.now += LEASE
    second = await shop.take()

    assert first is not None
    assert second is not None
    async with shop.store.write() as tx:
        assert await leases.owned(tx.session, first) is None
        assert await leases.owned(tx.session, second) is not None
        assert not await leases.renew(tx.session, first, tx.now)
        assert not await leases.release(tx.session, first, tx.now, None)
    assert (await shop.row()).lease_owner == second.lease_owner


async def test_what_is_due(shop: Shop) -> None:
    """A row is due until somebody holds it, and again when the lease has run out."""
    assert await shop.due() == [shop.id]
    await shop.take()
    assert await shop.due() == []
    shop.clock.now += LEASE
    assert await shop.due() == [shop.id]


async def test_work_that_is_done(shop: Shop) -> None:
    """The row leaves the desk, and nobody comes back for it."""
    await shop.serve()
    await shop.serve()

    row = await shop.row()
    assert (row.status, row.lease_owner, row.attempts, shop.worked) == ("opened", None, 0, [1])
    assert await shop.due() == []


async def test_a_ring_during_the_work(shop: Shop) -> None:
    """Somebody rings while the row is held: it is worked once more."""
    row = await shop.take()
    assert row is not None
    async with shop.store.write() as tx:
        await leases.nudge(tx.session, Delivery, [shop.id], tx.now)
    async with shop.store.write() as tx:
        assert await leases.release(tx.session, row, tx.now, None)

    assert await shop.due() == [shop.id]


async def test_trouble_worth_waiting_for(shop: Shop) -> None:
    """It is tried again after the error's own delay, as often as it takes, until patience ends."""
    shop.error = TemporaryError("away", delay=7)
    for _ in range(MAX_ATTEMPTS * 2):
        await shop.serve()

    assert shop.given_up == []
    assert shop.bell.rings == [("open", 7.0)] * (MAX_ATTEMPTS * 2)
    shop.clock.now += timedelta(hours=1, seconds=1)
    await shop.serve()
    assert shop.given_up == ["gave up after 60 minutes: away"]
    assert (await shop.row()).status == "failed"


async def test_the_older_the_more_seldom(shop: Shop) -> None:
    """A row that waits for long is tried every minute at most."""
    shop.error = TemporaryError("away", delay=1)
    shop.clock.now += timedelta(minutes=5)
    await shop.serve()
    shop.clock.now += timedelta(minutes=20)
    await shop.serve()

    assert shop.bell.rings == [("open", 30.0), ("open", 60.0)]


async def test_a_bug(shop: Shop) -> None:
    """An error of ours is tried a few times, each later than the last, and then given up."""
    shop.error = ZeroDivisionError()
    for _ in range(MAX_ATTEMPTS + 2):
        await shop.serve()

    assert shop.worked == [1, 2, 3, 4]
    assert [after for _, after in shop.bell.rings] == [2.0, 4.0, 8.0, 16.0]
    assert shop.given_up == ["gave up after 4 tries"]


async def test_a_row_that_kills(shop: Shop) -> None:
    """Workers that vanish with the row count as tries."""
    for _ in range(MAX_ATTEMPTS):
        await shop.take()
        shop.clock.now += LEASE
    await shop.serve()

    assert shop.worked == []
    assert shop.given_up == ["gave up after 4 tries"]
    assert (await shop.row()).lease_owner is None


@pytest.mark.parametrize("moment", [None, timedelta(minutes=3)])
async def test_when_it_is_due_again(shop: Shop, moment: timedelta | None) -> None:
    """Work says when to look again: then the bell rings and the sweep finds it."""

    async def work(row: Delivery) -> datetime | None:
        return None if moment is None else shop.clock() + moment

    await serve(shop.store, Desk("open", Delivery, ("recorded",), work, shop.give_up), shop.id)

    row = await shop.row()
    assert row.due_at == (None if moment is None else shop.clock() + moment)
    assert shop.bell.rings == ([] if moment is None else [("open", moment.total_seconds())])
