"""What no delivery told is found when everything is looked at again."""

import asyncio

import pytest

from tests.world import World, says

pytestmark = pytest.mark.thorough


@pytest.mark.long
async def test_a_lost_push(world: World) -> None:
    """The push's delivery never came: its commit is deployed all the same."""
    await world.enabled()
    world.forge.lose_deliveries()
    sha = world.push(says("two"))
    await world.settled()
    assert world.raw_statuses(sha) == []

    await world.reconcile()

    assert world.states(sha) == ["pending", "success"]
    assert world.live() == "two"


async def test_nothing_to_find(world: World) -> None:
    """Where everything was told, looking again does nothing."""
    await world.enabled()
    world.push(says("two"))
    await world.settled()
    before = len(world.effects()), len(await world.runs())

    await world.reconcile()
    await world.reconcile()

    assert (len(world.effects()), len(await world.runs())) == before


@pytest.mark.long
async def test_a_lost_closing(world: World) -> None:
    """The request was closed and nobody said so: the environment follows main again."""
    await world.enabled()
    world.open_pull_request(says("topic"))
    await world.settled()
    await world.comment("/deploy development")
    world.forge.lose_deliveries(2)
    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()
    world.forge._deliveries._lose = 0
    assert world.live() == "topic"

    await world.reconcile()

    assert world.live() == "development"
    assert await world.pins() == []


async def test_closed_reopened_and_closed_again(world: World) -> None:
    """A request found closed, open again when it was looked at, and closed for good later: unpinned in the end."""
    await world.enabled()
    world.open_pull_request(says("topic"))
    await world.settled()
    await world.comment("/deploy development")
    world.forge.lose_deliveries(100)
    world.forge.close_pull_request(world.repository, world.number, "dave")
    world.forge.delay_next("GET", f"*/pulls/{world.number}", 0.3)
    looking = asyncio.create_task(world.reconcile())
    await world.until(lambda: world.runs("closed"))
    world.forge.reopen_pull_request(world.repository, world.number, "dave")
    await looking
    world.forge.close_pull_request(world.repository, world.number, "dave")

    await world.reconcile()
    world.forge._deliveries._lose = 0

    assert await world.pins() == []


async def test_a_lost_head(world: World) -> None:
    """A head that no delivery told is known after the look, so that a later comment may mean it."""
    await world.enabled()
    world.forge.lose_deliveries(3)
    world.open_pull_request(says("topic"))
    await world.settled()
    world.forge._deliveries._lose = 0

    await world.reconcile()
    await world.comment("/deploy development")

    assert await world.results("deploy") == [("done", None)]
    assert world.live() == "topic"


async def test_a_forge_that_is_away(world: World) -> None:
    """A forge that does not answer is looked at the next time; nothing breaks."""
    await world.enabled()
    world.forge.lose_deliveries()
    sha = world.push(says("two"))
    await world.settled()
    world.forge.fail_next("GET", f"/repos/{world.repository}/*", 404, times=None)
    await world.reconcile()
    assert world.raw_statuses(sha) == []

    world.forge.clear_faults()
    await world.reconcile()

    assert world.live() == "two"


async def test_a_head_told_while_sluice_was_down(world: World) -> None:
    """Deliveries that met no server at all are made good by the first look after the start."""
    await world.enabled()
    await world.restart_around(lambda: world.push(says("two")))

    await world.reconcile()

    assert world.live() == "two"
