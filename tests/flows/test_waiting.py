"""How what waits is looked at: when something rings, seldom else, and with how many calls of the forge's API."""

from datetime import timedelta

from bot.core.looking import OFTEN, SPACING
from models import Deployment
from tests.flows.test_approvals import enabled, waiting
from tests.world import CHECKS, World

HOURLY = 5000  # calls that GitHub lets an account make
CALLS = 16  # of one look at most


async def looked_at(world: World) -> timedelta:
    """After how long what waits is looked at again."""
    [row] = await waiting(world)
    assert row.due_at is not None
    return row.due_at - row.updated_at


async def test_a_check_rings(world: World) -> None:
    """What waits for a check is looked at often, and at once when it ends; then seldom, with few calls."""
    await enabled(world, "approvals: 1, checks: [ci/test]")
    world.place.add_hook(world.repository, events=CHECKS)
    head = world.head()
    assert await looked_at(world) <= OFTEN

    for state, context in (("pending", "ci/test"), ("success", "ci/other"), ("success", "ci/test")):
        world.forge.add_status(world.repository, head, state, context, "alice")
    await world.settled()
    told = [run.text or "" for run in await world.runs("checked")]  # of two at once either may be the first
    assert sorted(told) == ["0 wait for it", "1 wait for it"]
    [row] = await waiting(world)
    assert row.message == "0 of 1 approvals are there; people with the role approver can write /approve"
    assert await looked_at(world) > OFTEN

    calls = len(world.forge.requests)
    await world.execute(Deployment.__table__.update().values(due_at=row.created_at).where(Deployment.id == row.id))
    await world.until(lambda: len(world.forge.requests) > calls)
    await world.settled()
    assert len(world.forge.requests) - calls <= CALLS
    assert CALLS * (timedelta(hours=1) / SPACING) <= HOURLY
