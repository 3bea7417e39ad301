"""Chains the event log, one process at a time; walks the chain; and takes its oldest part away."""

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import chain
from bot.core.errors import UserError
from bot.core.sealing import Keyring
from bot.store import leases, log
from bot.store.transactions import Store, Transaction
from models import Checkpoint, UnifiedEvent

LEASE = "event log"
BATCH = 500
WALKED_AT_ONCE = 2000
MOST_FAULTS = 20
UNSIGNED = "none"  # the key id of a checkpoint that was made without keys

EVENTS: sa.Table = sa.inspect(UnifiedEvent).local_table  # type: ignore[assignment]
SAID = tuple(EVENTS.c[name] for name in chain.COLUMNS)
PLACE = (EVENTS.c.sequence, EVENTS.c.previous_hash, EVENTS.c.hash)

logger = structlog.get_logger()


@dataclass(frozen=True)
class Appender:
    """Gives the rows of the log their places in the chain. Any number may run: the one with the lease works."""

    store: Store
    keyring: Keyring
    owner: str = field(default_factory=lambda: secrets.token_hex(8))

    async def append(self) -> int:
        """Chain every row that is there; how many there were."""
        count = 0
        while await self._anything() and (done := await self._batch()):
            count += done
        return count

    async def let_go(self) -> None:
        """Leave the work to others at once."""
        async with self.store.write() as tx:
            await leases.drop_name(tx.session, LEASE, self.owner, tx.now)

    async def _anything(self) -> bool:
        async with self.store.read() as session:
            query = sa.select(EVENTS.c.id).where(EVENTS.c.sequence.is_(None)).limit(1)
            return (await session.execute(query)).first() is not None

    async def _batch(self) -> int:
        async with self.store.write() as tx:
            # In the same transaction as the rows: whoever lost the lease meanwhile can write nothing.
            if not await leases.take_name(tx.session, LEASE, self.owner, tx.now):
                return 0
            rows = await _unchained(tx.session)
            if rows:
                await self._chain(tx, rows)
            return len(rows)

    async def _chain(self, tx: Transaction, rows: Sequence[sa.RowMapping]) -> None:
        end = await _end(tx.session, lock=True) or await self._beginning(tx)
        places = []
        for row in rows:
            before, end.sequence = end.hash, end.sequence + 1
            end.hash = chain.link(before, end.sequence, row)
            places.append({"at": row["id"], "sequence": end.sequence, "previous_hash": before, "hash": end.hash})
        # On the connection: the session refuses every change to the log.
        statement = sa.update(EVENTS).where(EVENTS.c.id == sa.bindparam("at"))
        columns: dict[str, sa.BindParameter[Any]] = {
            name: sa.bindparam(name) for name in ("sequence", "previous_hash", "hash")
        }
        await (await tx.session.connection()).execute(statement.values(columns), places)
        sign(self.keyring, end)
        if self.keyring.ids:
            await resign(tx, self.keyring)

    async def _beginning(self, tx: Transaction) -> Checkpoint:
        """The end of the chain where none is noted: of a new log, or somebody took it away, which is told."""
        chained = sa.select(*PLACE).where(EVENTS.c.sequence.is_not(None))
        row = (await tx.session.execute(chained.order_by(EVENTS.c.sequence.desc()).limit(1))).first()
        last = row or await _purged(tx.session)
        sequence, hash = (last.sequence, last.hash) if last else (0, chain.START)
        if sequence:
            log.record(tx.session, "audit.end_missing", event_type="system", severity="critical", sequence=sequence)
        end = Checkpoint(id=uuid4(), sequence=sequence, hash=hash, key_id=UNSIGNED, signature="")
        tx.session.add(end)
        return end


def sign(keyring: Keyring, checkpoint: Checkpoint) -> None:
    """Sign a checkpoint with the newest key, if there is one."""
    said = chain.statement(checkpoint.sequence, checkpoint.hash, checkpoint.purged_until)
    checkpoint.key_id, checkpoint.signature = keyring.sign(said) if keyring.ids else (UNSIGNED, "")


async def resign(tx: Transaction, keyring: Keyring) -> int:
    """Sign anew, with the newest key, what an older one signed; how many there were."""
    count = 0
    older = sa.select(Checkpoint).where(Checkpoint.key_id != keyring.newest).with_for_update()
    for row in (await tx.session.execute(older)).scalars():
        if signature_fault(keyring, row) is None:
            sign(keyring, row)
            count += 1
    return count


def signature_fault(keyring: Keyring, checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint's signature; None: nothing."""
    what = "the end of the chain" if checkpoint.purged_until is None else "the checkpoint of a purge"
    if checkpoint.key_id == UNSIGNED:
        return f"{what} is not signed, and SLUICE_SECRET_KEYS is set" if keyring.ids else None
    if not keyring.ids:
        return f"{what} is signed with the key {checkpoint.key_id}: set SLUICE_SECRET_KEYS to check it"
    said = chain.statement(checkpoint.sequence, checkpoint.hash, checkpoint.purged_until)
    if keyring.signed(said, checkpoint.key_id, checkpoint.signature):
        return None
    return f"{what} has a wrong signature (key {checkpoint.key_id})"


async def _unchained(session: AsyncSession) -> Sequence[sa.RowMapping]:
    query = sa.select(*SAID).where(EVENTS.c.sequence.is_(None)).order_by(EVENTS.c.created_at, EVENTS.c.id).limit(BATCH)
    return (await session.execute(query)).mappings().all()


async def _end(session: AsyncSession, *, lock: bool = False) -> Checkpoint | None:
    query = sa.select(Checkpoint).where(Checkpoint.purged_until.is_(None))
    if lock:
        query = query.with_for_update()
    return (await session.execute(query)).scalar_one_or_none()


async def _purged(session: AsyncSession) -> Checkpoint | None:
    query = sa.select(Checkpoint).where(Checkpoint.purged_until.is_not(None)).order_by(Checkpoint.sequence.desc())
    return (await session.execute(query.limit(1))).scalar_one_or_none()


# Walking.


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written; `sequence` is where."""

    sequence: int
    text: str


@dataclass
class Walk:
    """What came of walking the chain."""

    rows: int = 0
    first: int = 0  # the sequence after what was purged
    last: int = 0
    unchained: int = 0
    faults: list[Fault] = field(default_factory=list)

    def found(self, sequence: int, text: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(sequence, text))

    @property
    def full(self) -> bool:
        """Whether that is enough to be told."""
        return len(self.faults) >= MOST_FAULTS


async def verify(store: Store, keyring: Keyring) -> Walk:
    """Walk the whole chain; what is not as it was written is a fault. The log may grow and be purged meanwhile."""
    while True:
        async with store.read() as session:
            purged = await _purged(session)
        walk = await _walk(store, keyring, purged)
        async with store.read() as session:
            now = await _purged(session)
        if (now.sequence if now else 0) == (purged.sequence if purged else 0):
            return walk


async def _walk(store: Store, keyring: Keyring, purged: Checkpoint | None, until: int | None = None) -> Walk:
    start = (purged.sequence, purged.hash) if purged else (0, chain.START)
    walk = Walk(first=start[0] + 1, last=start[0])
    if purged is not None and (fault := signature_fault(keyring, purged)):
        walk.found(purged.sequence, fault)
    hash = await _walk_rows(store, walk, start[1], until)
    if until is None and not walk.full:
        await _check_end(store, keyring, walk, hash)
    return walk


async def _walk_rows(store: Store, walk: Walk, hash: str, until: int | None) -> str:
    """Walk to the end, or to a sequence; the hash there."""
    async for row in _rows(store, walk.last, until):
        walk.rows += 1
        while walk.last + 1 < row["sequence"] and not walk.full:
            walk.last += 1
            walk.found(walk.last, "is missing")
        if walk.full:
            return hash
        walk.last = row["sequence"]
        if row["previous_hash"] != hash:
            walk.found(walk.last, "does not follow the row before it")
        if row["hash"] != chain.link(row["previous_hash"] or "", walk.last, row):
            walk.found(walk.last, "was changed")
        hash = row["hash"] or ""
    return hash


async def _rows(store: Store, after: int, until: int | None) -> AsyncIterator[sa.RowMapping]:
    while True:
        query = sa.select(*PLACE, *SAID).where(EVENTS.c.sequence > after)
        if until is not None:
            query = query.where(EVENTS.c.sequence <= until)
        async with store.read() as session:
            found = await session.execute(query.order_by(EVENTS.c.sequence).limit(WALKED_AT_ONCE))
            rows = found.mappings().all()
        for row in rows:
            yield row
        if len(rows) < WALKED_AT_ONCE:
            return
        after = rows[-1]["sequence"]


async def _check_end(store: Store, keyring: Keyring, walk: Walk, hash: str) -> None:
    """The newest rows cannot be cut off: where the chain ends is noted, and signed."""
    async with store.read() as session:
        end = await _end(session)
        newest = sa.select(sa.func.max(EVENTS.c.sequence)).scalar_subquery()
        noted = sa.select(Checkpoint.sequence).where(Checkpoint.purged_until.is_(None)).scalar_subquery()
        last, ending = (await session.execute(sa.select(newest, noted))).one()  # both at one moment
        unchained = sa.select(sa.func.count()).where(EVENTS.c.sequence.is_(None))
        walk.unchained = (await session.execute(unchained)).scalar_one()
    if end is None:
        if walk.last:
            walk.found(walk.last, "should be the end of the chain, but that is not noted anywhere")
        return
    if fault := signature_fault(keyring, end):
        walk.found(end.sequence, fault)
    if (last or 0) > ending:
        walk.found(last, "was put behind the end of the chain")
    elif walk.last < end.sequence:
        await _check_grown(store, walk, end, hash)
    elif walk.last == end.sequence and hash != end.hash:
        walk.found(walk.last, "is not the row that the chain ended with")


async def _check_grown(store: Store, walk: Walk, end: Checkpoint, hash: str) -> None:
    """Rows that came while the others were walked; or that should be there and are not."""
    hash = await _walk_rows(store, walk, hash, end.sequence)
    while walk.last < end.sequence and not walk.full:
        walk.last += 1
        walk.found(walk.last, "is missing")
    if not walk.faults and hash != end.hash:
        walk.found(walk.last, "is not the row that the chain ended with")


# Taking the oldest part away.


async def purge(store: Store, keyring: Keyring, older_than: timedelta, *, by: str) -> int:
    """Remove what is older, as far as the chain goes without a younger row; how many rows. A checkpoint stays.

    UserError keys_missing, or chain_broken: what was tampered with is not taken out of sight.
    """
    if not keyring.ids:
        raise UserError("keys_missing", "a purge leaves a signed checkpoint: set SLUICE_SECRET_KEYS")
    before = store.clock() - older_than
    async with store.read() as session:
        until, purged = await _until(session, before), await _purged(session)
    if until is None:
        return 0
    walk = await _walk(store, keyring, purged, until)
    if walk.faults:
        fault = walk.faults[0]
        raise UserError("chain_broken", f"the event log is broken at {fault.sequence}, which {fault.text}; I leave it")
    count = 0
    while (done := await _purge_batch(store, keyring, until, before)) > 0:
        count += done
    async with store.write() as tx:
        log.record(tx.session, "audit.purged", event_type="audit", actor=by, rows=count, until=before.isoformat())
    return count


async def _until(session: AsyncSession, before: datetime) -> int | None:
    """The last sequence that may go: none behind it is older than allowed, and the newest row stays."""
    young = sa.select(sa.func.min(EVENTS.c.sequence)).where(EVENTS.c.created_at >= before)
    first_young = (await session.execute(young)).scalar_one()
    end = await _end(session)
    if end is None:
        return None
    last = (end.sequence if first_young is None else first_young) - 1
    oldest = (await session.execute(sa.select(sa.func.min(EVENTS.c.sequence)))).scalar_one()
    return last if oldest is not None and oldest <= last else None


async def _purge_batch(store: Store, keyring: Keyring, until: int, before: datetime) -> int:
    """Some rows and the checkpoint in their stead, in one transaction, so that the chain holds at every moment."""
    async with store.write() as tx:
        query = sa.select(*PLACE).where(EVENTS.c.sequence <= until).order_by(EVENTS.c.sequence).limit(WALKED_AT_ONCE)
        rows = (await tx.session.execute(query)).all()
        if not rows:
            return 0
        last = rows[-1]
        row = Checkpoint(id=uuid4(), sequence=last.sequence, hash=last.hash, purged_until=before)
        sign(keyring, row)
        tx.session.add(row)
        older = sa.delete(Checkpoint).where(Checkpoint.purged_until == before, Checkpoint.sequence < last.sequence)
        await tx.session.execute(older)
        gone = sa.delete(EVENTS).where(EVENTS.c.sequence <= last.sequence)
        await (await tx.session.connection()).execute(gone)
        return len(rows)
