"""The model's stories, told to a whole Sluice: real HTTP, real rows, a sandbox's Flux, now and then a crash.

The steps are those of `tests.model.chain`, in seeded random order; several come in before anything is waited for. What
must be true is read from the database, the forge and the cluster, and counted anew.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bot.core.deployments import TERMINAL, Phase
from models import Approval, Deployment, Lock, Pin, UnifiedEvent
from tests.flows.test_approvals import config
from tests.thorough import sample
from tests.world import World, says

pytestmark = pytest.mark.thorough

TALES, EACH, STEPS = 5, 10, 12  # worlds, stories in each, steps in a story
ENDS = frozenset(f"deployment.{phase}" for phase in TERMINAL)
BY_GATES = ("push", "deploy", "promote", "resume")
COMMANDS = ("deploy", "deploy", "deploy", "approve", "reject", "cancel", "lock", "unlock", "rollback", "resume", "why")


class Teller:
    """Tells stories of one repository's production, and knows who pushed what."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.pushed: dict[int, list[tuple[str, str]]] = {}  # by request: its heads, and who pushed them
        self.open: dict[int, str] = {}  # their branches
        self.merged: list[int] = []
        self.count = 0

    # The steps, by the names of the model's.

    def push(self) -> None:
        self.world.push(self._text(), self.chance.choice(("dave", "dave", "maia")))

    def push_request(self) -> None:
        if len(self.open) < 2:
            self._open()
            return
        number, by = self._number(), self.chance.choice(("dave", "dave", "maia"))
        force = self.world.head() if self.chance.random() < 0.2 else None
        head = self.world.push(self._text(), by, branch=self.open[number], force_parent=force)
        if force:
            self.pushed[number] = []
        self.pushed[number].append((head, by))

    def change_request(self) -> None:
        if not self.open:
            return
        number, repository, forge = self._number(), self.world.repository, self.world.forge
        what = self.chance.choice(("draft", "ready", "close", "merge", "merge"))
        if what in ("draft", "ready"):
            forge.set_draft(repository, number, "dave", what == "draft")
            return
        del self.open[number]
        if what == "close":
            forge.close_pull_request(repository, number, "dave")
        else:
            self._merge(number)

    def say(self) -> None:
        command = self.chance.choice(COMMANDS)
        by = self.chance.choice(("dave", "dave", "maia", "alice", "vera"))
        self.world.write(f"/{command} production", by, on=self._number())

    def agree(self) -> None:
        """Two who may say yes, wherever something may wait."""
        for by in self.chance.sample(("alice", "maia"), self.chance.choice((1, 2))):
            for number in {*self.open, *self.merged[-1:]}:
                self.world.write("/approve production", by, on=number)
            self.world.forge.comment_on_commit(self.world.repository, self.world.head(), "/approve production", by)

    def people(self) -> None:
        role = self.chance.choice(("write", "maintain", "maintain"))
        self.world.forge.set_permission(self.world.repository, "maia", role)

    def rules(self) -> None:
        self.world.push({".sluice.yaml": config(self.chance.choice(("approvals: 1", "approvals: 2")))}, "alice")

    async def deliver(self) -> None:
        await self.world.settled(120)

    async def crash(self) -> None:
        """It ends in the middle of whatever it does."""
        self.say()
        await self.world.kill()
        self.agree()
        await self.world.forge.settled()
        await self.world.rise()
        for delivery in self.world.forge.deliveries:
            if delivery.status_code != 202 and not delivery.redelivery:
                self.world.forge.redeliver(delivery.id)

    STEPS = (*("push", "push_request", "push_request", "change_request"), *["say"] * 5, *["agree"] * 3)
    STEPS += ("people", "rules", *["deliver"] * 5, "crash")

    # A whole story.

    async def tell(self) -> None:
        """Some steps, then an end to everything that began; what must be true is looked at on the way."""
        for _ in range(STEPS):
            await self._step(self.chance.choice(self.STEPS))
        await self._step("deliver")
        await self.finish()

    async def _step(self, name: str) -> None:
        step: Callable[[], Any] = getattr(self, name)
        coming = step()
        if coming is not None:
            await coming
            await self.check()

    async def finish(self) -> None:
        """Nobody keeps it, everybody has their role, and what waits is approved or else refused."""
        self.world.forge.set_permission(self.world.repository, "maia", "maintain")
        for _ in range(12):
            [row, *_] = [*await self.waiting(), None]
            here = {each.environment_id for each in await self.world.deployments()}
            kept = Lock.status.in_(("held", "waiting"))
            locks = await self.world.rows(Lock, Lock.environment_id.in_(here), kept)
            if row is None and not locks:
                break
            for command, by in (("unlock", "alice"), ("resume", "alice"), ("approve", "maia"), ("approve", "alice")):
                self.world.write(f"/{command} production", by, on=self._number())
            if row is not None:
                where = row.commit_hash
                for word in ("approve", "reject") if self.count % 2 else ("reject",):
                    self.world.forge.comment_on_commit(self.world.repository, where, f"/{word} production", "alice")
            self.count += 1
            await self.deliver()
            await self.check()
        rows = await self.world.deployments()
        assert all(row.status in TERMINAL for row in rows), [(row.number, row.status) for row in rows]

    # What must be true.

    async def waiting(self) -> list[Deployment]:
        return [row for row in await self.world.deployments() if row.status == Phase.WAITING]

    async def check(self) -> None:
        """The invariants of the model."""
        rows = sorted(await self.world.deployments(), key=lambda row: row.number)
        assert sum(row.status == Phase.WAITING for row in rows) <= 1
        assert sum(row.status not in TERMINAL and row.status != Phase.WAITING for row in rows) <= 1
        ended = Counter(each.resource_id for each in await self.world.rows(UnifiedEvent, UnifiedEvent.action.in_(ENDS)))
        for row in rows:
            assert ended[row.id] == (1 if row.status in TERMINAL else 0), (row.number, row.status, ended[row.id])
            if row.approved_at is not None and row.trigger in BY_GATES:
                await self._was_let(row)
        await self._pins_are_right(rows)

    async def _was_let(self, row: Deployment) -> None:
        """Enough people, of exactly this, who had no part in it."""
        voices = await self.world.rows(Approval, Approval.deployment_id == row.id, Approval.verdict == "approved")
        assert row.approved_at is not None
        counted = {
            voice.provider_account_id
            for voice in voices
            if voice.chain_digest == row.chain_digest
            and voice.commit_hash == row.commit_hash
            and voice.created_at <= row.approved_at
            and (voice.voided_at is None or voice.voided_at >= row.approved_at)
        }
        counted -= {row.requested_by_id, *self._pushers(row)}
        assert counted, (row.number, row.trigger, [(voice.user, voice.void_reason) for voice in voices])

    def _pushers(self, row: Deployment) -> set[str]:
        heads = self.pushed.get(row.pull_request or 0, []) if row.trigger == "deploy" else []
        commits = [head for head, _ in heads]
        upto = commits.index(row.commit_hash) + 1 if row.commit_hash in commits else 0
        return {self.world.forge.account_id(by) for _, by in heads[:upto]}

    async def _pins_are_right(self, rows: list[Deployment]) -> None:
        """What the cluster is told is what the last deployment that was let through is of, and it was let rightly."""
        pins = await self.world.rows(Pin, Pin.environment_id.in_([row.environment_id for row in rows]))
        found = self.world.object("GitRepository", "pin-production")
        told = found["spec"]["ref"].get("commit") if found else None
        live = [pin for pin in pins if pin.ended_at is None]
        assert told is None or told in {pin.commit_hash for pin in live}
        for pin in live:
            [row] = [each for each in rows if each.number == pin.number]
            assert row.commit_hash == pin.commit_hash
            before = {each.commit_hash for each in rows if each.number < row.number and each.status == Phase.SUCCEEDED}
            assert row.approved_at is not None if row.trigger in BY_GATES else row.commit_hash in before

    # Small things.

    def _text(self) -> dict[str, bytes | str | None]:
        self.count += 1
        return says(f"text {self.chance.randrange(1000)}.{self.count}", "production")

    def _open(self) -> None:
        branch = f"topic{self.count}x{self.chance.randrange(10**6)}"
        head = self.world.push(self._text(), "dave", branch=branch)
        forge, repository = self.world.forge, self.world.repository
        number = forge.open_pull_request(repository, branch, "main", f"Merge {branch}", "dave")
        self.open[number] = branch
        self.pushed[number] = [(head, "dave")]

    def _merge(self, number: int) -> None:
        try:
            self.world.forge.merge_pull_request(self.world.repository, number, "alice")
        except Exception:  # it conflicts, as they do
            self.world.forge.close_pull_request(self.world.repository, number, "dave")
            return
        self.merged.append(number)

    def _number(self) -> int:
        if not self.open:
            self._open()
        return self.chance.choice(sorted(self.open))


@pytest.mark.timeout(sample(600, 3600))
@pytest.mark.parametrize("tale", range(TALES))
async def test_stories(world: World, tale: int) -> None:
    """Ten stories one after the other, each in the world that the one before left."""
    world.may_log_errors = True  # of the dead ones
    world.push({".sluice.yaml": config("approvals: 1")}, by="alice")
    await world.settled()
    await world.enabled("production")
    for story in range(EACH):
        await Teller(world, tale * 1_000 + story).tell()
