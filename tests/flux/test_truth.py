"""Whatever happens between the cluster and Sluice, an object's row says in the end what the newest object says."""

import asyncio
import contextlib
import copy
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from bot.core.errors import TemporaryError
from bot.core.settling import resource_status
from bot.flux.connection import Expired
from bot.flux.observer import Observer
from bot.observing import Observations
from bot.store.database import Database
from bot.store.transactions import Store, Transaction
from bot.wiring import whole
from models import GitopsResource
from models.base import now
from tests.core_flux.objects import failed, kustomization, progressing
from tests.scene import Silent
from tests.store.test_rows import enabled

NAMESPACE, NAMES = "project-1", ("one", "two")
STATES: dict[str, dict[str, Any]] = {
    "new": {"status": {}},
    "ready": kustomization(),
    "in the middle": progressing(text="Running health checks"),
    "failed": failed("HealthCheckFailed", "timeout"),
    "suspended": kustomization(suspend=True),
}

LATE = ContextVar("LATE", default=False)

Step = tuple[Any, ...]
ACTS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(NAMES), st.sampled_from(sorted(STATES))),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["settle", "settle", "alone"])),
)
MEANWHILE = st.lists(ACTS, min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        ACTS,
        st.tuples(st.sampled_from(["cut", "expire", "refuse", "restart"]), MEANWHILE),
        st.tuples(st.sampled_from(["slow look", "slow observer", "dying observer"]), MEANWHILE),
    ),
    max_size=6,
)


LATE_ANSWER: list[Step] = [
    ("set", "one", "in the middle"),
    ("settle",),
    ("slow look", [("set", "one", "failed"), ("settle",)]),
]
LATE_ANSWER_OF_WHAT_IS_GONE: list[Step] = [*LATE_ANSWER[:2], ("slow look", [("delete", "one"), ("settle",)])]
LATE_ANSWER_OF_WHAT_IS_GONE_AGAIN: list[Step] = [
    *[("set", "one", "failed"), ("settle",), ("delete", "one"), ("set", "one", "failed")],
    ("slow look", [("delete", "one"), ("settle",)]),
]
LATE_END_OF_ANOTHER: list[Step] = [
    ("set", "one", "ready"),
    ("settle",),
    ("alone",),
    ("refuse", [("delete", "one"), ("set", "one", "ready")]),
    ("settle",),
]
LAST_WORDS: list[Step] = [
    ("set", "one", "ready"),
    ("settle",),
    ("dying observer", [("set", "one", "in the middle"), ("settle",), ("set", "one", "failed"), ("settle",)]),
]


class Api:
    """What an API server keeps of one kind: the objects, and what became of them since the last compaction."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = self.compacted = self.epoch = 0
        self.asked, self.answering = False, asyncio.Event()
        self.answering.set()
        self._log: list[tuple[int, str, dict[str, Any]]] = []
        self._news = asyncio.Event()

    def set(self, name: str, state: str) -> None:
        """Make it, or make it so."""
        known = self.objects.get(name)
        found = copy.deepcopy(STATES[state])
        uid = known["metadata"]["uid"] if known else str(uuid.uuid4())
        metadata = {"name": name, "namespace": NAMESPACE, "uid": uid, "generation": 1}
        found = {"kind": "Kustomization", "spec": {}, **found, "metadata": {**found.get("metadata", {}), **metadata}}
        self.objects[name] = found
        self._tell("MODIFIED" if known else "ADDED", found)

    def delete(self, name: str) -> None:
        """Delete it, if it is there."""
        if (found := self.objects.pop(name, None)) is not None:
            self._tell("DELETED", copy.deepcopy(found))

    def _tell(self, change: str, found: dict[str, Any]) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self._log.append((self.version, change, copy.deepcopy(found)))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def cut(self, *, forget: bool = False) -> None:
        """End all watches; with `forget`, nobody can go on where they were."""
        self.epoch += 1
        if forget:
            self.version += 1  # of another kind: the history before it is gone
            self.compacted, self._log = self.version, []
        self._wake()

    async def list(self, *_: Any) -> tuple[str, list[dict[str, Any]]]:
        """All objects."""
        return str(self.version), copy.deepcopy(list(self.objects.values()))

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """One; to whoever is LATE the answer is long on its way."""
        found = copy.deepcopy(self.objects.get(name))
        if LATE.get():
            self.asked = True
            await self.answering.wait()
        return found

    async def watch(self, kind: str, selector: Any, version: str, *_: Any) -> AsyncGenerator[tuple[str, Any], None]:
        """What became of them since."""
        at, epoch = int(version), self.epoch
        while epoch == self.epoch:
            if at < self.compacted:
                raise Expired("too old")
            for number, change, found in [each for each in self._log if each[0] > at]:
                yield change, copy.deepcopy(found)
                at = number
            if epoch == self.epoch and at >= max((each[0] for each in self._log), default=0):
                await self._news.wait()


class Moody(Store):
    """A database that sometimes refuses."""

    refusals = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        if self.refusals:
            self.refusals -= 1
            raise TemporaryError("the database is locked")
        async with super().write() as tx:
            yield tx


class Watcher:
    """One process that observes."""

    def __init__(self, api: Api, observations: Observations) -> None:
        self.going, self.begun, self.busy = asyncio.Event(), asyncio.Event(), 0
        self.going.set()
        self.observer = Observer(
            "default",
            cast(Any, api),
            ["Kustomization"],
            on_change=lambda seen: self._tell(observations.changed, seen),
            on_gone=lambda gone: self._tell(observations.gone, gone),
            known=whole(observations.known),
            longest_pause=0.001,
        )
        self.task = asyncio.create_task(self.observer.run())

    async def _tell(self, work: Any, told: Any) -> None:
        self.busy += 1
        try:
            await self.going.wait()
            self.begun.set()
            await whole(work)(told)
        finally:
            self.busy -= 1

    def idle(self, version: int) -> bool:
        """Whether it has told everything."""
        [kind] = self.observer._kinds
        left = self.busy or kind._untold or kind._failed
        return not left and kind._version == str(version) and kind.told.is_set()

    async def end(self) -> None:
        """Die: what was not told yet is never told."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class Play:
    """An API server, one database, and two processes that observe."""

    def __init__(self, database: Database) -> None:
        self.database, self.ahead = database, timedelta()
        self.store = Moody(database, Silent(), self._clock)
        self.api = Api()
        port = cast(Any, self.api)
        port.name = "default"
        self.observations = Observations(self.store, port, cast(Any, None))
        self.watchers: list[Watcher] = []

    def _clock(self) -> datetime:
        return now() + self.ahead

    async def begin(self) -> None:
        async with self.database.write() as session:
            await session.execute(sa.delete(GitopsResource).where(GitopsResource.namespace == NAMESPACE))
            await self._rows(session)
        self.watchers = [Watcher(self.api, self.observations) for _ in range(2)]
        await self.settle()

    async def _rows(self, session: AsyncSession) -> None:
        project_id = (await session.execute(sa.select(GitopsResource.project_id).limit(1))).scalar_one()
        facts = {"project_id": project_id, "type": "kustomization", "cluster": "default", "namespace": NAMESPACE}
        session.add_all([GitopsResource(id=uuid.uuid4(), name=name, **facts) for name in NAMES])

    async def end(self) -> None:
        self.api.answering.set()
        for each in self.watchers:
            each.going.set()
            await each.end()

    async def settle(self) -> None:
        """Until everybody who is not held up has told everything."""
        async with asyncio.timeout(10):
            for each in self.watchers:
                while each.going.is_set() and not each.idle(self._heard()):
                    await asyncio.sleep(0.0005)
                    assert not each.task.done()

    def _heard(self) -> int:
        """The version up to which there is something to hear."""
        return max([self.api.compacted, *(each[0] for each in self.api._log)])

    async def play(self, steps: list[Step]) -> None:
        for name, *rest in steps:
            await getattr(self, f"_{name.replace(' ', '_')}")(*rest)

    async def _set(self, name: str, state: str) -> None:
        self.api.set(name, state)

    async def _delete(self, name: str) -> None:
        self.api.delete(name)

    async def _settle(self) -> None:
        await self.settle()

    async def _cut(self, meanwhile: list[Step]) -> None:
        self.api.cut()
        await self.play(meanwhile)

    async def _expire(self, meanwhile: list[Step]) -> None:
        await self.play(meanwhile)
        self.api.cut(forget=True)

    async def _refuse(self, meanwhile: list[Step]) -> None:
        self.store.refusals = 1
        await self.play(meanwhile)

    async def _alone(self) -> None:
        """From now on there is one process that observes, so nobody else makes its faults good."""
        for each in self.watchers[1:]:
            await each.end()
        del self.watchers[1:]

    async def _restart(self, meanwhile: list[Step]) -> None:
        await self.watchers.pop(0).end()
        await self.play(meanwhile)
        self.watchers.append(Watcher(self.api, self.observations))

    async def _slow_look(self, meanwhile: list[Step]) -> None:
        """What the reconcile loop asked for comes late."""
        self.ahead += timedelta(minutes=10)
        self.api.asked = False
        self.api.answering.clear()
        look = asyncio.create_task(self._look_late())
        await self._asked(look)
        await self.play(meanwhile)
        self.api.answering.set()
        await look

    async def _look_late(self) -> None:
        LATE.set(True)
        await self.observations.look_again()

    async def _asked(self, look: "asyncio.Task[None]") -> None:
        while not look.done() and not self.api.asked:
            await asyncio.sleep(0.0005)

    async def _slow_observer(self, meanwhile: list[Step]) -> None:
        self.watchers[0].going.clear()
        await self.play(meanwhile)
        self.watchers[0].going.set()

    async def _dying_observer(self, meanwhile: list[Step]) -> None:
        """It tells one thing, late, and dies."""
        behind = self.watchers[0]
        behind.going.clear()
        await self.play(meanwhile)
        behind.begun.clear()
        behind.going.set()
        while behind.busy and not behind.begun.is_set():  # what it was in the middle of before may be the last
            await asyncio.sleep(0.0005)
        await self._restart([])

    async def rows(self) -> dict[str, GitopsResource]:
        async with self.database.read() as session:
            query = sa.select(GitopsResource).where(GitopsResource.namespace == NAMESPACE)
            return {row.name: row for row in (await session.execute(query)).scalars()}


def agree(row: GitopsResource, found: dict[str, Any] | None) -> None:
    """The row says what the object says; one that never was, or is no more, has no uid."""
    if found is None:
        assert (row.uid, row.status_reason) in ((None, None), (None, "Missing"))
        return
    wanted = resource_status(found)
    assert row.uid == found["metadata"]["uid"]
    assert (row.status, row.status_reason, row.status_message) == (wanted.status, wanted.reason, wanted.message)
    assert row.last_applied_revision == wanted.last_applied_revision
    assert row.last_attempted_revision == wanted.last_attempted_revision


@pytest.fixture
def runner(migrated_url: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    """An event loop and a database for all examples: only the rows are new each time."""
    with asyncio.Runner() as runner:
        database = Database(migrated_url, writers=4)  # on PostgreSQL the observers write at the same time
        runner.run(_prepared(database))
        yield runner, database
        runner.run(database.close())


async def _prepared(database: Database) -> None:
    await enabled(database)


async def _played(database: Database, steps: list[Step]) -> None:
    play = Play(database)
    await play.begin()
    try:
        await play.play(steps)
        play.store.refusals = 0
        await play.settle()
        for name, row in (await play.rows()).items():
            agree(row, play.api.objects.get(name))
    finally:
        await play.end()


@settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck), deadline=None)
@given(steps=STEPS)
@example(steps=LATE_ANSWER)
@example(steps=LATE_ANSWER_OF_WHAT_IS_GONE)
@example(steps=LATE_ANSWER_OF_WHAT_IS_GONE_AGAIN)
@example(steps=LATE_END_OF_ANOTHER)
@example(steps=LAST_WORDS)
@example(steps=[*LAST_WORDS, ("set", "one", "failed")])
def test_rows_say_what_objects_say(runner: tuple[asyncio.Runner, Database], steps: list[Step]) -> None:
    """Lost and repeated events, cut watches, lists made anew, refusals, two observers, and answers that come late."""
    loop, database = runner
    with capture_logs():
        loop.run(_played(database, steps))
