"""Somebody keeps an environment: what follows its branch stays, others wait in line, and the end of it is told."""

import pytest
import sqlalchemy as sa

from models import Lock, Run
from tests.world import PAST, World, says

pytestmark = pytest.mark.thorough


async def locks(world: World) -> list[tuple[str, str]]:
    """Who has, or had, the environment: (owner, status), oldest first."""
    mine = {row.environment_id for row in await world.deployments()}
    return [(row.owner, row.status) for row in await world.rows(Lock, Lock.environment_id.in_(mine))]


async def begin(world: World) -> str:
    """Development follows main; dave's request is open. What is live."""
    live = await world.enabled("development")
    world.open_pull_request(says("topic"))
    await world.settled()
    return live


@pytest.mark.long
async def test_a_locked_environment_stays(world: World) -> None:
    """Pinned to what it has, so that a push waits also while Sluice is down; unlocked, it goes to main's head."""
    live = await begin(world)

    await world.comment("/lock development --for 2h --reason 'a demo'")
    assert await world.results("lock") == [("done", None)]
    assert "`development` is yours until " in world.comment_text()
    [pin] = await world.pins()
    assert (pin.commit_hash, pin.pull_request, pin.branch) == (live, None, "main")
    assert world.follows() == "pin-development"
    main = world.push(says("main went on"))
    await world.settled()
    assert (world.live(), world.raw_statuses(main)) == ("development", [])

    await world.comment("/deploy development --behind", by="maia")
    assert await world.results("deploy") == [("refused", "lock_conflict")]

    await world.comment("/unlock development")

    assert "`development` is unlocked; nobody waits for it" in world.comment_text()
    assert (await world.pins(), world.live(), world.follows()) == ([], "main went on", "branch-main")
    assert world.states(main) == ["pending", "success"]
    assert await locks(world) == [("dave", "released")]


async def _once_more(world: World, run: Run) -> None:
    """As after a death between what was done and the end of the run."""
    again = {"status": "queued", "finished_at": None, "due_at": PAST}
    await world.execute(sa.update(Run).where(Run.id == run.id).values(again))
    world.place.worker.bell.ring("execute", run.id)
    await world.settled()


@pytest.mark.long
async def test_in_line(world: World) -> None:
    """The second is told the place, then, on the request that they asked on, that it is theirs; an admin may end it."""
    await begin(world)
    first = world.number
    await world.comment("/lock development")
    world.open_pull_request(says("second"), "maia", branch="second")
    await world.comment("/lock development --reason 'me too'", by="maia")
    assert "is locked by dave; you are 1st in line and will be told here" in world.comment_text()

    await world.comment("/unlock development", by="vera", on=first)
    world.forge.drop_next("POST", f"*/issues/{world.number}/comments")  # made, but the answer is lost: found again
    await world.comment("/unlock development", by="dave", on=first)

    assert await world.results("unlock") == [("refused", "not_permitted"), ("done", None)]
    assert "now it is maia's" in world.comment_text(first)
    assert "`development` is yours now" in world.comment_text()
    assert (world.calls(), world.calls(first)) == (["@maia: `development` is yours now"], [])
    assert len(await world.pins()) == 1
    await _once_more(world, (await world.runs("unlock"))[-1])
    assert (await world.results("unlock"))[-1] == ("done", None)
    assert await locks(world) == [("dave", "released"), ("maia", "held")]
    await world.comment("/unlock development", by="dave")
    await world.comment("/unlock development", by="alice")
    await world.comment("/unlock development", by="alice")
    results = await world.results("unlock")
    assert results[2:] == [("refused", "not_permitted"), ("done", None), ("refused", "not_locked")]
    assert "(it was maia's)" in world.comment_text()
    assert await world.pins() == []
    assert len(world.calls()) == 1
    assert await locks(world) == [("dave", "released"), ("maia", "released")]


async def test_time_runs_out(world: World) -> None:
    """The sweep ends a lock that has run out: the environment follows again."""
    await begin(world)
    await world.comment("/lock development --for 30m")
    main = world.push(says("main went on"))
    await world.settled()

    await world.execute(sa.update(Lock).where(Lock.status == "held").values(expires_at=PAST))

    await world.until(lambda: world.states(main)[-1:] == ["success"])
    await world.settled()
    assert (world.live(), await world.pins()) == ("main went on", [])
    assert await locks(world) == [("dave", "expired")]


async def test_merging_ends_it(world: World) -> None:
    """A lock ends with the request that it was claimed on, as does the pin of that request's head."""
    await begin(world)
    await world.comment("/lock development")
    await world.comment("/deploy development")
    assert world.live() == "topic"

    merged = world.forge.merge_pull_request(world.repository, world.number, "dave")
    await world.settled()

    assert await locks(world) == [("dave", "released")]
    assert (await world.pins(), world.live(), world.follows()) == ([], "topic", "branch-main")
    assert world.states(merged) == ["pending", "success"]


async def test_a_request_is_closed_while_another_keeps_it(world: World) -> None:
    """The environment stays at the request's head until the lock ends; a closing that nobody told is made good."""
    await begin(world)
    await world.comment("/deploy development")
    first = world.number
    world.open_pull_request(says("second"), "maia", branch="second")
    await world.comment("/lock development", by="maia")

    world.forge.close_pull_request(world.repository, first, "dave")
    await world.settled()
    [pin] = await world.pins()
    assert (pin.pull_request, world.live()) == (None, "topic")

    world.forge.lose_deliveries(1)
    world.forge.close_pull_request(world.repository, world.number, "maia")
    await world.reconcile()
    assert (await world.pins(), world.live()) == ([], "development")
    assert await locks(world) == [("maia", "released")]


async def test_nothing_to_keep(world: World) -> None:
    """Spans that nobody understands, environments that do not exist."""
    await begin(world)

    await world.comment("/lock development --for ever")
    await world.comment("/lock developmnt")

    assert await world.results("lock") == [("refused", "usage"), ("refused", "target_unknown")]
    assert await locks(world) == []
