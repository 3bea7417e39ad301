"""The event log's chain: one appender at a time, every tampering found, a purge that leaves the rest provable."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.core import chain as links
from bot.core.errors import UserError
from bot.core.sealing import Keyring
from bot.store import chain, leases, log
from bot.store.chain import Appender
from bot.store.database import Database
from bot.store.transactions import Store
from models import Checkpoint, Organization, UnifiedEvent
from models.event import AppendOnlyError

KEYS = Keyring([b"k" * 32])
AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Stands still unless told otherwise."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Silent:
    """A bell that nobody hears."""

    def ring(self, queue: str, id: uuid.UUID, *, after: float = 0.0) -> None:
        """Do nothing."""


@pytest.fixture
async def store(migrated_url: str) -> AsyncIterator[Store]:
    database = Database(migrated_url)
    yield Store(database, Silent(), Clock())
    await database.close()


async def happen(store: Store, *numbers: int, at: datetime = AGO) -> None:
    """Events of which each says its number."""
    async with store.write() as tx:
        for number in numbers:
            details = {"number": number, "text": "ünï\ud800", "deep": {"b": [1.5], "a": None}}
            when = at + timedelta(microseconds=number)
            row = UnifiedEvent(created_at=when, event_type="project", action="thing.happened", actor="alice")
            row.details = details
            tx.session.add(row)


async def by_hand(store: Store, statement: str, **values: Any) -> None:
    """Change the database as somebody would who got hold of it."""
    async with store.write() as tx:
        await (await tx.session.connection()).execute(sa.text(statement), values)


async def chained(store: Store, count: int = 5) -> None:
    """A log of so many rows, all in the chain."""
    await happen(store, *range(1, count + 1))
    assert await append(store) == count


async def append(store: Store, keys: Keyring = KEYS) -> int:
    """Chain what is there, as the same process each time."""
    return await Appender(store, keys, owner="tests").append()


async def faults(store: Store, keys: Keyring = KEYS) -> list[tuple[int, str]]:
    """What a walk finds."""
    return [(fault.sequence, fault.text) for fault in (await chain.verify(store, keys)).faults]


async def rows(store: Store) -> list[UnifiedEvent]:
    """The log in the order of its chain."""
    async with store.read() as session:
        return list((await session.execute(sa.select(UnifiedEvent).order_by(UnifiedEvent.sequence))).scalars())


async def test_rows_get_places_and_hashes(store: Store) -> None:
    await chained(store)
    found = await rows(store)
    assert [row.sequence for row in found] == [1, 2, 3, 4, 5]
    assert [row.details["number"] for row in found] == [1, 2, 3, 4, 5]
    assert found[0].previous_hash == links.START
    assert [row.previous_hash for row in found[1:]] == [row.hash for row in found[:-1]]
    assert len({row.hash for row in found}) == 5
    walk = await chain.verify(store, KEYS)
    assert (walk.rows, walk.first, walk.last, walk.unchained, walk.faults) == (5, 1, 5, 0, [])


async def test_an_empty_log_and_an_unchained_tail_are_no_faults(store: Store) -> None:
    assert (await chain.verify(store, KEYS)).faults == []
    await happen(store, 1, 2)
    walk = await chain.verify(store, KEYS)
    assert (walk.rows, walk.unchained, walk.faults) == (0, 2, [])
    await append(store)
    await happen(store, 3)
    walk = await chain.verify(store, KEYS)
    assert (walk.rows, walk.unchained, walk.faults) == (2, 1, [])


async def test_more_than_a_batch(store: Store) -> None:
    await chained(store, chain.BATCH * 2 + 1)
    walk = await chain.verify(store, KEYS)
    assert (walk.rows, walk.faults) == (chain.BATCH * 2 + 1, [])


EDITS = [
    "action = 'nothing.happened'",
    "actor = 'mallory'",
    "actor = NULL",
    "severity = 'critical'",
    "event_type = 'audit'",
    "ip = '10.0.0.1'",
    "user_agent = 'curl'",
    "resource_type = 'pin'",
    "details = '{\"number\": 4}'",
    "created_at = '2026-01-02 00:00:00.000000'",
]


async def test_edited_rows_are_named(store: Store) -> None:
    """Every column that says something: each edit is made to a row of its own."""
    await chained(store, len(EDITS) + 3)
    for sequence, edit in enumerate(EDITS, 1):
        await by_hand(store, f"UPDATE unified_events SET {edit} WHERE sequence = {sequence}")
    organization, references = uuid.uuid4(), ("id", "organization_id", "resource_id")
    async with store.write() as tx:
        tx.session.add(Organization(id=organization, provider="github", name="acme"))
    async with store.write() as tx:
        for sequence, column in enumerate(references, len(EDITS) + 1):
            edited = sa.update(chain.EVENTS).where(chain.EVENTS.c.sequence == sequence).values({column: organization})
            await (await tx.session.connection()).execute(edited)
    assert await faults(store) == [(sequence, "was changed") for sequence in range(1, len(EDITS) + 4)]


async def test_an_edited_row_with_a_hash_that_fits_breaks_the_next(store: Store) -> None:
    """Whoever knows how hashes are made must make all that follow, and the signature at the end."""
    await chained(store)
    row = (await rows(store))[2]
    said = {name: getattr(row, name) for name in links.COLUMNS} | {"actor": "mallory"}
    hash = links.link(str(row.previous_hash), 3, said)
    await by_hand(store, "UPDATE unified_events SET actor = 'mallory', hash = :hash WHERE sequence = 3", hash=hash)
    assert await faults(store) == [(4, "does not follow the row before it")]


async def test_the_whole_rest_made_anew_lacks_the_signature(store: Store) -> None:
    await chained(store)
    found, before = await rows(store), links.START
    for row in found:
        said = {name: getattr(row, name) for name in links.COLUMNS} | {"actor": "mallory"}
        hash = links.link(before, int(row.sequence or 0), said)
        statement = "UPDATE unified_events SET actor = 'mallory', previous_hash = :p, hash = :h WHERE sequence = :s"
        await by_hand(store, statement, p=before, h=hash, s=row.sequence)
        before = hash
    assert await faults(store) == [(5, "is not the row that the chain ended with")]
    await by_hand(store, "UPDATE checkpoints SET hash = :h", h=before)
    [(sequence, text)] = await faults(store)
    assert (sequence, "wrong signature" in text) == (5, True)


async def test_deleted_rows_are_named(store: Store) -> None:
    """The first, some in the middle, and the newest."""
    await chained(store, 7)
    await by_hand(store, "DELETE FROM unified_events WHERE sequence IN (1, 3, 4, 7)")
    found = await faults(store)
    assert [sequence for sequence, text in found if text == "is missing"] == [1, 3, 4, 7]


async def test_a_row_taken_out_of_the_chain_is_named(store: Store) -> None:
    await chained(store)
    await by_hand(store, "UPDATE unified_events SET sequence = NULL, hash = NULL WHERE sequence = 5")
    assert (5, "is missing") in await faults(store)
    await append(store)
    assert (5, "is missing") in await faults(store)


async def test_a_deleted_end_is_not_mended_by_what_comes_after(store: Store) -> None:
    await chained(store)
    await by_hand(store, "DELETE FROM unified_events WHERE sequence = 5")
    await happen(store, 6)
    await append(store)
    assert [row.sequence for row in await rows(store)] == [1, 2, 3, 4, 6]
    assert (5, "is missing") in await faults(store)


async def test_inserted_rows_are_named(store: Store) -> None:
    await chained(store)
    await happen(store, 99)
    await by_hand(store, "UPDATE unified_events SET sequence = sequence + 10 WHERE sequence > 3")
    await by_hand(store, "UPDATE unified_events SET sequence = 4 WHERE sequence IS NULL")
    await by_hand(store, "UPDATE unified_events SET sequence = sequence - 9 WHERE sequence > 10")
    found = await faults(store)
    assert (4, "does not follow the row before it") in found
    assert (4, "was changed") in found


async def test_a_row_put_behind_the_end_is_named(store: Store) -> None:
    await chained(store)
    await happen(store, 99)
    found = {row.sequence: row for row in await rows(store)}
    last, new = found[5], found[None]
    hash = links.link(str(last.hash), 6, {name: getattr(new, name) for name in links.COLUMNS})
    statement = "UPDATE unified_events SET sequence = 6, previous_hash = :p, hash = :h WHERE sequence IS NULL"
    await by_hand(store, statement, p=last.hash, h=hash)
    assert await faults(store) == [(6, "was put behind the end of the chain")]


async def test_reordered_rows_are_named(store: Store) -> None:
    await chained(store)
    for old, new in ((2, 90), (3, 2), (90, 3)):
        await by_hand(store, "UPDATE unified_events SET sequence = :new WHERE sequence = :old", new=new, old=old)
    assert {(2, "was changed"), (3, "was changed")} <= set(await faults(store))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("signature = '00'", "wrong signature"),
        ("sequence = 9", "wrong signature"),
        ("hash = '00'", "wrong signature"),
        ("key_id = 'none', signature = ''", "is not signed"),
        ("key_id = '0011223344556677'", "wrong signature"),
    ],
)
async def test_a_wrong_end_is_named(store: Store, edit: str, words: str) -> None:
    await chained(store)
    await by_hand(store, f"UPDATE checkpoints SET {edit}")
    assert any(words in text for _, text in await faults(store))


async def test_an_end_that_is_gone_is_told_and_logged(store: Store) -> None:
    await chained(store)
    await by_hand(store, "DELETE FROM checkpoints")
    assert [sequence for sequence, _ in await faults(store)] == [5]
    await happen(store, 6)
    await append(store)
    told = [row for row in await rows(store) if row.action == "audit.end_missing"]
    assert [(row.severity, row.details) for row in told] == [("critical", {"sequence": 5})]


async def test_faults_are_told_up_to_a_limit(store: Store) -> None:
    await chained(store, 60)
    await by_hand(store, "UPDATE unified_events SET actor = 'mallory'")
    assert len(await faults(store)) == chain.MOST_FAULTS


async def test_without_keys_and_with_new_ones(store: Store) -> None:
    await happen(store, 1)
    await append(store, Keyring([]))
    assert await faults(store, Keyring([])) == []
    assert [text for _, text in await faults(store)] == [
        "the end of the chain is not signed, and SLUICE_SECRET_KEYS is set"
    ]
    await happen(store, 2)
    await append(store)
    assert await faults(store) == []
    assert any("set SLUICE_SECRET_KEYS" in text for _, text in await faults(store, Keyring([])))


async def test_keys_may_be_rotated(store: Store) -> None:
    """What an older key signed, and only that, is signed anew by whoever appends with the newer one."""
    await chained(store, 10)
    await happen(store, 11, 12, at=datetime(2026, 5, 30, tzinfo=UTC))
    await append(store)
    await purge(store)
    newer, newest = Keyring([b"n" * 32, b"k" * 32]), Keyring([b"n" * 32])
    assert await faults(store, newer) == []
    assert len(await faults(store, newest)) == 2
    await append(store, newer)
    assert await faults(store, newest) == []
    assert any("wrong signature" in text for _, text in await faults(store, KEYS))

    await by_hand(store, "UPDATE checkpoints SET key_id = :old, signature = '00'", old=KEYS.newest)
    await happen(store, 13)
    await append(store, newer)
    assert [text for _, text in await faults(store, newer)] == [
        f"the checkpoint of a purge has a wrong signature (key {KEYS.newest})"
    ]


# One appender at a time.


async def test_two_at_once(store: Store) -> None:
    """Both go on while events come in; every row has one place, and the chain holds."""
    one, two = Appender(store, KEYS), Appender(store, KEYS)
    ended = asyncio.Event()

    async def go_on(appender: Appender) -> int:
        count = 0
        while not ended.is_set():
            count += await appender.append()
            await asyncio.sleep(0)
        return count

    async def events() -> None:
        for number in range(60):
            await happen(store, number)
        ended.set()

    counts = await asyncio.gather(go_on(one), go_on(two), events())
    rest = await one.append() + await two.append()
    assert int(counts[0] or 0) + int(counts[1] or 0) + rest == 60
    assert sorted(row.details["number"] for row in await rows(store)) == list(range(60))
    assert await faults(store) == []


async def test_the_other_comes_in_when_the_lease_is_over(store: Store) -> None:
    clock = store.clock
    assert isinstance(clock, Clock)
    one, two = Appender(store, KEYS), Appender(store, KEYS)
    await happen(store, 1)
    assert await one.append() == 1
    await happen(store, 2)
    assert await two.append() == 0
    clock.now += leases.LEASE
    assert await two.append() == 1
    await happen(store, 3)
    assert await one.append() == 0
    await two.let_go()
    assert await one.append() == 1
    assert await faults(store) == []


async def test_killed_before_its_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies in the middle of a batch has written nothing of it; the next goes on."""
    await chained(store)
    await happen(store, 6, 7)

    class Dying(Keyring):
        def sign(self, data: bytes) -> tuple[str, str]:
            raise SystemExit

    with pytest.raises(SystemExit):
        await Appender(store, Dying([b"k" * 32]), owner="tests").append()
    assert [row.sequence for row in await rows(store) if row.sequence] == [1, 2, 3, 4, 5]
    clock = store.clock
    assert isinstance(clock, Clock)
    clock.now += leases.LEASE
    assert await Appender(store, KEYS).append() == 2
    assert await faults(store) == []


async def test_a_lease_that_was_lost_writes_nothing(store: Store) -> None:
    """The right is asked for in the transaction that writes, so a late one comes too late."""
    one, two = Appender(store, KEYS), Appender(store, KEYS)
    await happen(store, 1)
    await one.append()
    clock = store.clock
    assert isinstance(clock, Clock)
    clock.now += leases.LEASE * 2
    await happen(store, 2)
    assert await two.append() == 1
    await happen(store, 3)
    assert await one._batch() == 0


# Append-only.


async def test_the_program_changes_no_row(store: Store) -> None:
    await chained(store, 1)
    for statement in (sa.update(UnifiedEvent).values(actor="x"), sa.delete(UnifiedEvent), chain.EVENTS.delete()):
        with pytest.raises(AppendOnlyError):
            async with store.write() as tx:
                await tx.session.execute(statement)

    async def edit() -> None:
        async with store.write() as tx:
            (await tx.session.execute(sa.select(UnifiedEvent))).scalar_one().actor = "mallory"

    async def delete() -> None:
        async with store.write() as tx:
            await tx.session.delete((await tx.session.execute(sa.select(UnifiedEvent))).scalar_one())

    for change in (edit, delete):
        with pytest.raises(AppendOnlyError):
            await change()
    assert await faults(store) == []


async def test_who_did_it_from_where_is_kept(store: Store) -> None:
    async with store.write() as tx:
        log.record(tx.session, "login", event_type="audit", actor="alice", ip="192.0.2.1", user_agent="Firefox")
    [row] = await rows(store)
    assert (row.actor, row.ip, row.user_agent, row.user_id) == ("alice", "192.0.2.1", "Firefox", None)


# Purging.


async def purge(store: Store, days: int = 90) -> int:
    return await chain.purge(store, KEYS, timedelta(days=days), by="root")


async def test_a_purge_leaves_a_chain_that_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "WALKED_AT_ONCE", 3)
    await chained(store, 10)
    await happen(store, 11, 12, at=datetime(2026, 5, 30, tzinfo=UTC))
    await append(store)
    assert await purge(store) == 10
    walk = await chain.verify(store, KEYS)
    assert (walk.first, walk.last, walk.rows, walk.unchained, walk.faults) == (11, 12, 2, 1, [])
    async with store.read() as session:
        marks = (
            (await session.execute(sa.select(Checkpoint).where(Checkpoint.purged_until.is_not(None)))).scalars().all()
        )
    assert [(mark.sequence, mark.key_id) for mark in marks] == [(10, KEYS.newest)]
    [told] = [row for row in await rows(store) if row.action == "audit.purged"]
    assert (told.actor, told.details["rows"]) == ("root", 10)
    assert await purge(store) == 0
    await append(store)
    assert await faults(store) == []


async def test_the_newest_row_stays(store: Store) -> None:
    await chained(store)
    assert await purge(store) == 4
    assert [row.sequence for row in await rows(store) if row.sequence] == [5]
    assert await faults(store) == []


async def test_nothing_younger_goes_with_the_old(store: Store) -> None:
    """The order of the chain is not always that of time: it is cut before the first row that must stay."""
    await chained(store, 2)
    await happen(store, 3, at=datetime(2026, 5, 30, tzinfo=UTC))
    await append(store)
    await happen(store, 4, 5)
    await append(store)
    assert await purge(store) == 2
    assert [row.details["number"] for row in await rows(store) if row.action == "thing.happened"] == [3, 4, 5]


async def test_rows_after_a_purge_are_still_bound(store: Store) -> None:
    await chained(store, 10)
    await happen(store, 11, 12, at=datetime(2026, 5, 30, tzinfo=UTC))
    await append(store)
    await purge(store)
    await by_hand(store, "DELETE FROM unified_events WHERE sequence = 11")
    assert (11, "is missing") in await faults(store)


@pytest.mark.parametrize("edit", ["hash = '00'", "sequence = 9", "signature = '00'", "purged_until = '2020-01-01'"])
async def test_a_wrong_checkpoint_is_named(store: Store, edit: str) -> None:
    await chained(store, 10)
    await happen(store, 11, 12, at=datetime(2026, 5, 30, tzinfo=UTC))
    await append(store)
    await purge(store)
    if store.database.dialect == "sqlite":
        edit = edit.replace("2020-01-01", "2020-01-01 00:00:00.000000")
    await by_hand(store, f"UPDATE checkpoints SET {edit} WHERE purged_until IS NOT NULL")
    assert any("wrong signature" in text for _, text in await faults(store))


async def test_what_was_tampered_with_is_not_taken_out_of_sight(store: Store) -> None:
    await chained(store, 10)
    await by_hand(store, "UPDATE unified_events SET actor = 'mallory' WHERE sequence = 2")
    with pytest.raises(UserError) as caught:
        await purge(store)
    assert caught.value.code == "chain_broken"
    assert len(await rows(store)) == 10


async def test_no_purge_without_keys(store: Store) -> None:
    await chained(store)
    with pytest.raises(UserError) as caught:
        await chain.purge(store, Keyring([]), timedelta(days=90), by="root")
    assert caught.value.code == "keys_missing"


async def test_the_log_may_grow_while_it_is_walked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are chained between two pages of the walk are no fault."""
    monkeypatch.setattr(chain, "WALKED_AT_ONCE", 2)
    await chained(store, 6)
    check = chain._check_end

    async def grown(store: Store, keyring: Keyring, walk: chain.Walk, hash: str) -> None:
        await happen(store, 7, 8, 9)
        await append(store)
        await check(store, keyring, walk, hash)

    monkeypatch.setattr(chain, "_check_end", grown)
    walk = await chain.verify(store, KEYS)
    assert (walk.rows, walk.last, walk.faults) == (9, 9, [])
