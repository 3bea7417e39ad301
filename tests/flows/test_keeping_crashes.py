"""Sluice dies between any two steps of a rollback, a lock and their ends: nothing is lost, nothing is done twice."""

import random

import pytest

from models import Deployment, Lock
from tests.flows.test_rollback import holds, live_twice
from tests.thorough import sample
from tests.world import World, ends

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(sample(600, 7200))]

SEED = 20_261_122
PATIENCE = sample(40, 240)  # seconds: all steps are played beside other work
STORIES = {"rollback": 44, "resume": 40, "lock": 44, "unlock": 52}  # about how many steps each has
BEFORE = {"rollback": "", "resume": "/rollback development", "lock": "", "unlock": "/lock development"}
AFTER = {"rollback": "/resume development", "resume": "", "lock": "/unlock development", "unlock": ""}


def steps_of(story: str) -> list[int]:
    """One of a story's steps, or all of them."""
    return sample([random.Random(f"{SEED}{story}").randrange(STORIES[story])], list(range(STORIES[story])))


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_any_step(world: World, story: str) -> None:
    """One deployment for each command, one end of it, one hold or lock at most, and the wished state."""
    first, second = await live_twice(world)
    world.may_log_errors = True
    for step in steps_of(story):
        if BEFORE[story]:
            await world.comment(BEFORE[story])
        known = {row.id for row in await world.deployments()}
        world.place.life.dies_at(step)
        world.write(f"/{story} development")
        await world.until(lambda: _dead_or_done(world))
        await world.kill()
        await world.rise()
        await world.settled(PATIENCE)

        made = [row for row in await world.deployments() if row.id not in known]
        await _as_wished(world, story, made, first, second)
        assert len(world.comments()) == 1, step
        if AFTER[story]:
            await world.comment(AFTER[story])
            await world.settled()
    assert {status for status, _ in await world.results(story)} == {"done"}


async def _as_wished(world: World, story: str, made: list[Deployment], first: str, second: str) -> None:
    back, kept = story == "rollback", story in ("rollback", "lock")
    [row] = made
    assert (row.status, row.commit_hash) == ("succeeded", first if back else second)
    assert world.live() == ("development" if back else "two")
    assert [pin.commit_hash for pin in await world.pins()] == ([row.commit_hash] if kept else [])
    assert world.follows() == ("pin-development" if kept else "branch-main")
    assert len(await holds(world)) == (1 if back else 0)
    held = await world.rows(Lock, Lock.environment_id == row.environment_id, Lock.status == "held")
    assert len(held) == (1 if story == "lock" else 0)
    assert ends(world.statuses(row.commit_hash))


async def _dead_or_done(world: World) -> bool:
    if world.place.life.dead:
        return True
    await world.forge.settled()
    return await world.idle()
