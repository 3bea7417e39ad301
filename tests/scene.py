"""A repository on the sandbox's forge with the rows that commits of Sluice's own need; no Sluice runs there."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from bot.committing import Committer
from bot.core import events
from bot.forges.github import GitHub
from bot.http import Client, Limits
from bot.sandbox.forge import SandboxForge
from bot.sandbox.git import GitStore
from bot.sandbox.server import Loopback
from bot.store.database import Database
from bot.store.repositories import known
from bot.store.transactions import Store
from models import GitSyncLog, Repository, Run, UnifiedEvent
from models.base import now
from tests.world import Life, MortalPort, MortalStore

BRANCH = "sluice/scaffold"


class Silent:
    """A bell that nobody hears."""

    def ring(self, queue: str, id: uuid.UUID, *, after: float = 0.0) -> None:
        """Do nothing."""


class Scene:
    """A repository on the sandbox's forge, its row, and a run."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.sandbox = SandboxForge(GitStore(folder / "git"))
        self.meddling: dict[int, Callable[[], object]] = {}  # what happens just before a request, counted from now
        self._server = Loopback(self._meddled)
        url = self.sandbox.url = self._server.start()
        self.sandbox.add_user("alice")
        token = self.token = self.sandbox.add_user("sluice-bot")
        self.name = self.sandbox.create_repository("acme", "web", {"README.md": b"# web\n"})
        for login, role in (("alice", "write"), ("sluice-bot", "write")):
            self.sandbox.set_permission(self.name, login, role)
        client = Client(url, authorization=f"Bearer {token}", limits=Limits(attempts=1))
        self.forge = GitHub(client=client)
        self.store = Store(database, Silent(), now)
        self.run_id = uuid.uuid4()

    async def begin(self) -> None:
        """Make the rows."""
        async with self.store.write() as tx:
            told = await self.forge.repository(self.name)
            assert isinstance(told, events.Repository)
            self.repository: Repository = await known(tx.session, told)
            await self._run(tx.session, self.run_id)

    async def _meddled(self, scope: Any, receive: Any, send: Any) -> None:
        """The forge, where others act between two requests of ours."""
        if scope["type"] == "http":
            act = self.meddling.pop(0, None)
            self.meddling = {at - 1: each for at, each in self.meddling.items()}
            if act is not None:
                act()
        await self.sandbox.app(scope, receive, send)

    async def close(self) -> None:
        """End everything."""
        await self.forge.close()
        self.sandbox.close()
        self._server.stop()

    async def another_run(self) -> uuid.UUID:
        """A second command."""
        self.run_id = uuid.uuid4()
        async with self.store.write() as tx:
            await self._run(tx.session, self.run_id)
        return self.run_id

    async def _run(self, session: Any, id: uuid.UUID) -> None:
        run = Run(id=id, key=str(id), repository_id=self.repository.id, name="enable", actor="alice")
        run.call, run.received_at = {"actor_id": "77"}, now()
        session.add(run)
        await session.flush()

    def committer(self, life: Life | None = None) -> Committer:
        """What makes the commits; with a life it can die."""
        store = MortalStore(self.store, life) if life else self.store
        forge = cast(Any, MortalPort(self.forge, life, "forge")) if life else self.forge
        return Committer(store, forge, self.repository, self.run_id)

    async def logs(self) -> list[GitSyncLog]:
        """What is kept of the bot's commits."""
        async with self.store.read() as session:
            return list((await session.execute(sa.select(GitSyncLog).order_by(GitSyncLog.created_at))).scalars())

    async def told(self) -> list[str]:
        """The events about them."""
        async with self.store.read() as session:
            query = sa.select(UnifiedEvent.action).where(UnifiedEvent.action.like("git.%"))
            return list((await session.execute(query.order_by(UnifiedEvent.created_at))).scalars())

    def files(self) -> dict[str, bytes]:
        """What is on the branch."""
        head = self.sandbox.head(self.name, BRANCH)
        assert head is not None
        return self.sandbox.store.files(self.name, head)

    def commits(self) -> list[str]:
        """The commits of the branch that are not on main."""
        head, main = self.sandbox.head(self.name, BRANCH), self.sandbox.head(self.name)
        return self.sandbox.store.history(self.name, head, main) if head else []

    def pulls(self) -> list[int]:
        """The pull requests that were opened."""
        return [effect.about["number"] for effect in self.sandbox.effects if effect.kind == "pull.opened"]
