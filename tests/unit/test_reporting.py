"""The reporter dies between two of its transactions, and what it still had to say is said by the next one."""

import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest_asyncio

from bot.reporting import Reporter
from bot.store import leases, outbox
from bot.store.database import Database
from bot.store.leases import LEASE
from bot.store.transactions import Store
from models import Notification, Organization, Repository
from models.base import now


class Silent:
    """Nobody hears the rings of a process that is dead."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        pass


class Scene:
    """A pull request's comment, which wants saying again while it is said."""

    def __init__(self, url: str) -> None:
        self.time = now()
        self.store = Store(Database(url, writers=2), Silent(), lambda: self.time)
        self.repository, self.comment = uuid.uuid4(), UUID(int=0)
        forge = SimpleNamespace(comment_limit=60_000, find_comment=self._find, create_comment=self._create)
        self.reporter = Reporter(self.store, {"github": cast(Any, forge)})

    async def fill(self) -> None:
        organization = Organization(id=uuid.uuid4(), provider="github", name="acme")
        urls = dict.fromkeys(("clone_url", "html_url"), "https://forge.example/acme/web")
        facts = {"provider": "github", "forge_id": "1", "full_name": "acme/web", "default_branch": "main", **urls}
        async with self.store.write() as tx:
            tx.session.add(organization)
            await tx.session.flush()
            tx.session.add(Repository(id=self.repository, organization_id=organization.id, private=True, **facts))
            await tx.session.flush()
        await self.news()

    async def news(self) -> None:
        async with self.store.write() as tx:
            self.comment = await outbox.say_comment(tx.session, repository_id=self.repository, number=1, now=tx.now)

    async def taken(self) -> Notification:
        async with self.store.write() as tx:
            row = await leases.take(tx.session, Notification, self.comment, ("queued",), tx.now)
        assert row is not None
        return row

    async def due(self) -> list[UUID]:
        async with self.store.read() as session:
            return await leases.due(session, Notification, ("queued",), self.time)

    async def _find(self, *_: object) -> None:
        return None

    async def _create(self, *_: object) -> str:
        await self.news()
        return "1"


@pytest_asyncio.fixture
async def scene(migrated_url: str) -> AsyncIterator[Scene]:
    found = Scene(migrated_url)
    await found.fill()
    yield found
    await found.store.database.close()


async def test_news_during_a_comment_that_was_said_by_the_dead(scene: Scene) -> None:
    """It was written down as said, and the row was not given back any more: the sweep finds it by its lease."""
    assert await scene.reporter.report(await scene.taken()) is None
    assert await scene.due() == []
    scene.time += LEASE
    assert await scene.due() == [scene.comment]
