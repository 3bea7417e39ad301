"""A desk: takes a row from a queue, has it worked on, and puts it back or away; whatever happens, it comes up again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic
from uuid import UUID

import structlog

from bot.core.errors import DiskFull, TemporaryError
from bot.store import leases
from bot.store.leases import Table
from bot.store.transactions import Store

MAX_ATTEMPTS = 4
logger = structlog.get_logger()


@dataclass(frozen=True)
class Desk(Generic[Table]):
    """One queue: the table it is about, the statuses that want work, the work, and what to do when it is hopeless.

    `work` gets the leased row and returns when it is due again (None: a ring will tell). `give_up` gets the row and a
    text fit to show; it must leave the row in none of `statuses`.
    """

    queue: str
    table: type[Table]
    statuses: Sequence[str]
    work: Callable[[Table], Awaitable[datetime | None]]
    give_up: Callable[[Table, str], Awaitable[None]]
    patience: timedelta = timedelta(hours=1)  # for trouble that is worth waiting for


async def serve(store: Store, desk: Desk[Table], id: UUID) -> None:
    """Work on one row, if nobody else does. With a full disk it is left as it is; the sweep finds it by its lease."""
    try:
        await _serve(store, desk, id)
    except DiskFull as error:
        logger.error("the disk is full", queue=desk.queue, id=str(id), why=str(error))


async def _serve(store: Store, desk: Desk[Table], id: UUID) -> None:
    async with _lease(store, desk, id) as row:
        if row is None:
            return
        if row.attempts > MAX_ATTEMPTS:
            await desk.give_up(row, f"gave up after {MAX_ATTEMPTS} tries")
            await _release(store, desk, row, None, failed=False)  # a later ring finds it as good as new
            return
        failed, due = False, None
        try:
            due = await desk.work(row)
        except TemporaryError as error:
            due = await _again(store, desk, row, error)
        except Exception as error:
            logger.exception("work failed", queue=desk.queue, id=str(id), attempt=row.attempts, error=repr(error))
            failed, due = True, store.clock() + timedelta(seconds=2**row.attempts)
        await _release(store, desk, row, due, failed=failed)


async def _again(store: Store, desk: Desk[Table], row: Table, error: TemporaryError) -> datetime | None:
    """When to try again: as the error says, and the more seldom the older the row."""
    now = store.clock()
    age = now - row.begun_at
    if age > desk.patience:
        await desk.give_up(row, f"gave up after {int(age.total_seconds() // 60)} minutes: {error}")
        return None
    logger.info("will try again", queue=desk.queue, id=str(row.id), why=str(error))
    return now + max(timedelta(seconds=error.delay), min(age / 10, timedelta(seconds=60)))


async def _release(store: Store, desk: Desk[Table], row: Table, due: datetime | None, *, failed: bool) -> None:
    async with store.write() as tx:
        nudged = await leases.release(tx.session, row, tx.now, due, failed=failed)
        if nudged:
            tx.ring(desk.queue, row.id)
        elif due is not None:
            tx.ring(desk.queue, row.id, after=max(0.0, (due - tx.now).total_seconds()))


@asynccontextmanager
async def _lease(store: Store, desk: Desk[Table], id: UUID) -> AsyncIterator[Table | None]:
    async with store.write() as tx:
        row = await leases.take(tx.session, desk.table, id, desk.statuses, tx.now)
    if row is None:
        yield None
        return
    done = asyncio.Event()
    keeper = asyncio.create_task(_keep(store, row, done))
    try:
        yield row
    finally:
        done.set()  # it is asked to end, never cancelled: a transaction that is cut may keep its lock
        await keeper


async def _keep(store: Store, row: Table, done: asyncio.Event) -> None:
    """Renew the lease while the work goes on."""
    while not await happened(done, leases.LEASE.total_seconds() / 3):
        async with store.write() as tx:
            if not await leases.renew(tx.session, row, tx.now):
                return


async def happened(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but no longer than so many seconds; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
