"""Approvals and pushes at the same moment, again and again: what gets to the protected environment was looked at.

Each round asks for the head of a request; then an approver writes `/approve` while somebody pushes. Whoever was first,
production has either what it had before, or exactly the commit that was the head when the approver wrote.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from models import Approval, Deployment
from tests.world import World, says

PATIENCE = 90.0  # seconds: fifty rounds beside other tests
CONFIG = "version: 1\nenvironments:\n  production: {path: deploy/production, approvals: 1}\n"


@dataclass
class Counts:
    """What came of the rounds; `wrong` tells of each revision that nobody had looked at."""

    rounds: int = 0
    released: int = 0
    voided: int = 0
    wrong: list[str] = field(default_factory=list)
    pace: float = 0.15  # seconds after which the push comes about as often too late as in time, on this machine

    def note(self, *, released: bool) -> None:
        """One round went this way: the next ones' moments move, so that either is first about as often."""
        self.released += released
        self.voided += not released
        self.pace = min(max(self.pace * (0.8 if released else 1.25), 0.02), 5.0)


async def begin(world: World) -> None:
    """A protected production and a request to deploy to it."""
    world.push({".sluice.yaml": CONFIG})
    await world.settled(PATIENCE)
    await world.enabled("production")
    world.open_pull_request(says("start", "production"))
    await world.settled(PATIENCE)


async def play(world: World, rounds: int, seed: int) -> Counts:
    """So many rounds; the moments are chance's."""
    counts, chance = Counts(), random.Random(seed)
    for number in range(rounds):
        await _round(world, counts, chance, number)
    return counts


async def _round(world: World, counts: Counts, chance: random.Random, number: int) -> None:
    looked_at = world.push(says(f"seen {number}", "production"), branch="topic")
    await world.settled(PATIENCE)
    await _say(world, "/deploy production")
    before = world.live("production")
    await _both(world, chance, number, counts.pace)
    counts.rounds += 1
    live = world.live("production")
    rows = await world.deployments(looked_at)
    if live == f"seen {number}" and rows and await _approved(world, rows[-1]):
        counts.note(released=True)
    elif live == before:
        counts.note(released=False)
    else:
        counts.wrong.append(f"round {number}: {live!r} is live, after {before!r}")
    await _clear(world)


async def _both(world: World, chance: random.Random, number: int, pace: float) -> None:
    """The approval and the push: together, with deliveries in any order, or the push as soon as the voice is heard."""

    def push() -> None:
        world.push(says(f"unseen {number}", "production"), branch="topic")

    heard = len(await world.rows(Approval))
    match chance.choice(("together", "shuffled", "heard")):
        case "together":
            await asyncio.gather(
                _after(chance.uniform(0, 0.05), lambda: world.write("/approve production", "maia")),
                _after(chance.uniform(0, 2 * pace), push),
            )
        case "shuffled":
            world.forge.hold_deliveries()
            world.write("/approve production", "maia")
            push()
            world.forge.release(order="shuffled", seed=chance.randrange(1_000_000))
        case _:
            world.write("/approve production", "maia")
            await world.until(lambda: _heard(world, heard), PATIENCE)
            await _after(chance.uniform(0, pace), push)
    await world.settled(PATIENCE)


async def _say(world: World, text: str) -> None:
    world.write(text)
    await world.settled(PATIENCE)


async def _heard(world: World, before: int) -> bool:
    return len(await world.rows(Approval)) > before


async def _after(seconds: float, act: Callable[[], object]) -> None:
    """The moments differ by chance: that is what is tried here, nothing is waited for."""
    await asyncio.sleep(seconds)
    await asyncio.to_thread(act)


async def _approved(world: World, row: Deployment) -> bool:
    """Whether there is a voice on exactly what was let through."""
    found = await world.rows(Approval, Approval.deployment_id == row.id, Approval.verdict == "approved")
    return any(each.commit_hash == row.commit_hash and each.chain_digest == row.chain_digest for each in found)


async def _clear(world: World) -> None:
    """Nothing waits when the next round begins."""
    if any(row.status == "waiting" for row in await world.deployments()):
        await _say(world, "/cancel production")
