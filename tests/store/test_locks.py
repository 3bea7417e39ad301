"""Locks: 50 claims at once have one owner and one line; each end gives it to the next; time runs while it is held."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from bot.core.errors import UserError
from bot.core.keeping import nth, same_person, span
from bot.store import deployments, locks
from bot.store.database import Database
from bot.store.deployments import Place
from bot.store.locks import EXPIRED, HELD, RELEASED, WAITING, Claim
from bot.store.transactions import Store
from models import Environment, Lock, Repository, Run
from tests.scene import Silent
from tests.store.test_rows import enabled

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Scene:
    """An environment, and several processes that write to its database."""

    def __init__(self, url: str) -> None:
        self.databases = [Database(url, writers=5) for _ in range(2)]
        self.now = START
        self.stores = [Store(each, Silent(), lambda: self.now) for each in self.databases]
        self.store = self.stores[0]

    async def begin(self) -> None:
        _, _, environment = await enabled(self.databases[0])
        self.environment: UUID = environment.id

    async def close(self) -> None:
        for each in self.databases:
            await each.close()

    async def place(self) -> Place:
        async with self.store.read() as session:
            return await deployments.place(session, self.environment)

    async def claim(self, owner: str, *, store: int = 0, hours: int = 0, number: int | None = None) -> str:
        where = await self.place()
        wish = Claim(owner=owner, span=timedelta(hours=hours) or None, pull_request=number)
        async with self.stores[store].write() as tx:
            return (await locks.claim(tx, where, wish)).status

    async def release(self, owner: str) -> None:
        where = await self.place()
        async with self.store.write() as tx:
            lock = await locks.of_person(tx.session, self.environment, owner, "")
            assert lock is not None
            await locks.release(tx, where, lock, by=owner, run_id=None)

    async def owner(self) -> str | None:
        async with self.store.read() as session:
            lock = await locks.held(session, self.environment, self.now)
            return lock.owner if lock else None

    async def line(self) -> list[str]:
        async with self.store.read() as session:
            return [each.owner for each in await locks.line(session, self.environment)]

    async def runs(self, name: str) -> list[Run]:
        async with self.store.read() as session:
            return list((await session.execute(sa.select(Run).where(Run.name == name))).scalars())

    async def statuses(self) -> list[str]:
        async with self.store.read() as session:
            return sorted((await session.execute(sa.select(Lock.status))).scalars())


@pytest.fixture
async def scene(migrated_url: str) -> AsyncIterator[Scene]:
    found = Scene(migrated_url)
    await found.begin()
    yield found
    await found.close()


async def test_fifty_claims_at_once(scene: Scene) -> None:
    """One owner, 49 in line, each with a place of their own, and it goes down the line in that order."""
    people = [f"person{number}" for number in range(50)]

    answers = await asyncio.gather(*(scene.claim(each, store=number % 2) for number, each in enumerate(people)))

    assert sorted(answers) == [HELD] + [WAITING] * 49
    owner = await scene.owner()
    assert owner == people[answers.index(HELD)]
    line = await scene.line()
    assert sorted([*line, owner]) == sorted(people)
    async with scene.store.read() as session:
        places = (await session.execute(sa.select(Lock.position))).scalars().all()
    assert sorted(places) == list(range(1, 51))
    for number, each in enumerate(line):
        last = await scene.owner()
        assert last is not None
        await scene.release(last)
        assert await scene.owner() == each
        assert await scene.line() == line[number + 1 :]
    assert len(await scene.runs("turn")) == 49
    assert await scene.runs("freed") == []


async def test_the_same_person_again(scene: Scene) -> None:
    """Who has it, or waits for it, keeps the place and says new words."""
    assert [await scene.claim(each) for each in ("alice", "bob", "carol", "bob", "Alice")] == [
        HELD,
        WAITING,
        WAITING,
        WAITING,
        HELD,
    ]

    assert await scene.line() == ["bob", "carol"]


async def test_given_back_by_the_last(scene: Scene) -> None:
    """When nobody waits, the environment is freed: once for a lock."""
    await scene.claim("alice")
    await scene.release("alice")

    assert await scene.owner() is None
    assert await scene.statuses() == [RELEASED]
    [freed] = await scene.runs("freed")
    assert freed.call["arguments"] == {"environment": str(scene.environment)}


async def test_a_place_in_line_is_given_up(scene: Scene) -> None:
    """Those behind move up; nobody is told that it is their turn."""
    for each in ("alice", "bob", "carol"):
        await scene.claim(each)

    await scene.release("bob")

    assert (await scene.owner(), await scene.line()) == ("alice", ["carol"])
    assert await scene.runs("turn") == []


async def test_time_runs_while_it_is_held(scene: Scene) -> None:
    """A lock that has run out keeps nobody out, and the next one's time begins when it is theirs."""
    await scene.claim("alice", hours=2)
    await scene.claim("bob", hours=1)
    scene.now += timedelta(hours=2)

    assert await scene.owner() is None
    async with scene.store.read() as session:
        assert await locks.run_out(session, scene.now) == {scene.environment}
        assert await locks.kept_from(session, scene.environment, "carol", "", scene.now) is None
    async with scene.store.write() as tx:
        await locks.expire(tx, scene.environment)

    assert await scene.owner() == "bob"
    assert await scene.statuses() == [EXPIRED, HELD]
    scene.now += timedelta(minutes=59)
    assert await scene.owner() == "bob"
    scene.now += timedelta(minutes=1)
    assert await scene.owner() is None


async def test_a_claim_after_the_time(scene: Scene) -> None:
    """Whoever asks after it ran out comes after those who waited."""
    await scene.claim("alice", hours=1)
    await scene.claim("bob")
    scene.now += timedelta(hours=3)

    assert await scene.claim("carol") == WAITING
    assert (await scene.owner(), await scene.line()) == ("bob", ["carol"])


async def test_closing_a_request(scene: Scene) -> None:
    """Its lock and its places in line end; other requests' do not."""
    for owner, number in (("alice", 1), ("bob", 1), ("carol", 2)):
        await scene.claim(owner, number=number)

    async with scene.store.read() as session:
        repository = (await session.execute(sa.select(Repository.id))).scalar_one()
        assert await locks.requests(session, repository) == {1, 2}
    async with scene.store.write() as tx:
        assert await locks.close(tx, repository, 1, by="alice") == ["production", "production"]

    assert (await scene.owner(), await scene.line()) == ("carol", [])
    [turn] = await scene.runs("turn")
    assert turn.pull_request == 2


async def test_another_environments_lock(scene: Scene) -> None:
    """Locks of two environments do not know each other."""
    await scene.claim("alice")
    first = scene.environment
    async with scene.store.write() as tx:
        row = await tx.session.get_one(Environment, first)
        other = Environment(
            project_id=row.project_id, name="staging", type="staging", branch="main", path="s", target_namespace="s"
        )
        tx.session.add(other)
        await tx.session.flush()
        scene.environment = other.id

    assert await scene.claim("bob") == HELD


@pytest.mark.parametrize(
    ("text", "minutes"), [("30m", 30), ("2h", 120), ("1h30m", 90), ("3d", 4320), ("1d1h1m", 1501), ("30d", 43200)]
)
def test_spans(text: str, minutes: int) -> None:
    assert span(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "0m", "2", "h", "2h ", "-2h", "1m1h", "31d", "²h", "two hours", "99999h"])
def test_no_spans(text: str) -> None:
    with pytest.raises(UserError, match="30 days at most"):
        span(text)


def test_places() -> None:
    assert [nth(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th")
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("alice", "1"), ("alice", "1"), True),
        (("alice", "1"), ("renamed", "1"), True),
        (("alice", "1"), ("alice", "2"), False),
        (("Alice", ""), ("alice", "1"), True),
        (("alice", ""), ("bob", ""), False),
    ],
)
def test_the_same_account(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    assert same_person(*one, *other) is same
