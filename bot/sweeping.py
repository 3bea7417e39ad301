"""What makes good what never arrived: rows that nobody rang for, heads and closings that no delivery told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from bot.core.calls import Call
from bot.core.config_changes import arrived_call, proposed_call
from bot.core.errors import BotError
from bot.core.ports import Forge, PullRequest
from bot.store import heads, initialization, leases, locks, projects, runs
from bot.store.desk import Desk
from bot.store.transactions import Store
from models import Repository

logger = structlog.get_logger()


@dataclass(frozen=True)
class Sweeper:
    """Rings for rows that are due, and asks the forges what is true."""

    store: Store
    forges: Mapping[str, Forge]
    desks: Mapping[str, Desk[Any]]

    async def sweep(self) -> int:
        """Ring for every row that is due and held by nobody; how many there were."""
        count = 0
        for desk in self.desks.values():
            async with self.store.read() as session:
                due = await leases.due(session, desk.table, desk.statuses, self.store.clock())
            for id in due:
                self.store.bell.ring(desk.queue, id)
            count += len(due)
        await self._verify()
        await self._expire()
        return count

    async def _expire(self) -> None:
        """Locks that have run out go to the next in line."""
        async with self.store.read() as session:
            environments = await locks.run_out(session, self.store.clock())
        for environment_id in environments:
            async with self.store.write() as tx:
                await locks.expire(tx, environment_id)

    async def _verify(self) -> None:
        """Objects of which nothing is heard any more are given up at their deadline."""
        async with self.store.read() as session:
            waiting = await initialization.unfinished(session)
        for project_id in waiting:
            async with self.store.write() as tx:
                await initialization.look(tx, project_id)

    async def reconcile(self) -> None:
        """Compare every repository with its forge; trouble with one does not keep the others waiting."""
        async with self.store.read() as session:
            found = await projects.repositories(session)
        for repository in found:
            forge = self.forges.get(repository.provider)
            if forge is None:
                continue
            try:
                await self._heads(repository, forge)
                await self._changes(repository, forge)
            except BotError as error:
                logger.warning("could not reconcile", repository=repository.full_name, why=str(error))

    async def _heads(self, repository: Repository, forge: Forge) -> None:
        """Branches that are followed or pinned: a head that the ledger lacks is worked like a push."""
        async with self.store.read() as session:
            followed = await projects.branches(session, repository.id)
            pinned = [pin.branch for pin, _ in await projects.pins_of(session, repository.id)]
        for branch in dict.fromkeys((*followed, *pinned)):
            head = await forge.branch_head(repository.full_name, branch)
            async with self.store.write() as tx:
                told = await heads.newest(tx.session, repository.id, "branch", branch)
                if head == told:
                    continue
                await heads.record(
                    tx.session, repository.id, "branch", branch, head, actor="sluice", received_at=tx.now
                )
                where = f"{repository.provider}:{repository.forge_id}:refs/heads/{branch}"
                call = Call(
                    kind="work",
                    name="push",
                    key=f"{where}:{told}:{head}:found:{tx.now.isoformat()}",
                    actor="sluice",
                    arguments={"branch": branch, "commit": head},
                )
                await runs.start(tx, repository, call)
                if branch == repository.default_branch and head is not None:
                    check = arrived_call(repository.provider, repository.forge_id, head, actor="sluice")
                    await runs.start(tx, repository, check)

    async def _changes(self, repository: Repository, forge: Forge) -> None:
        """Open pull requests go into the ledger, their configuration is checked; pins and locks of closed ones end."""
        now = {change.number: change for change in await forge.open_pull_requests(repository.full_name)}
        async with self.store.write() as tx:
            for change in now.values():
                news = await heads.record(
                    tx.session,
                    repository.id,
                    "pull_request",
                    str(change.number),
                    change.head,
                    actor="sluice",
                    received_at=tx.now,
                )
                if news:
                    await runs.start(tx, repository, _proposed(repository, change))
            pinned = {pin.pull_request for pin, _ in await projects.pins_of(tx.session, repository.id)}
            for number in pinned | await locks.requests(tx.session, repository.id):
                if number is not None and number not in now:
                    await runs.start(tx, repository, _closed(repository, number, tx.now))


def _proposed(repository: Repository, change: PullRequest) -> Call:
    return proposed_call(repository.provider, repository.forge_id, change.number, change.head, actor="sluice")


def _closed(repository: Repository, number: int, now: datetime) -> Call:
    """Each time anew: a request that was open again when the last such run looked may be closed now."""
    return Call(
        kind="work",
        name="closed",
        key=f"{repository.provider}:{repository.forge_id}:pull:{number}:closed:found:{now.isoformat()}",
        actor="sluice",
        arguments={"number": number},
    )
