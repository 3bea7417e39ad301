"""Going back: at once, to what succeeded here, and held there until somebody resumes it."""

from models import Deployment, Hold
from tests.world import World, deployment, says


async def live_twice(world: World) -> tuple[str, str]:
    """Development had `one`, then `two`; dave's request is open. Both commits."""
    first = await world.enabled("development")
    second = world.push(says("two"))
    world.open_pull_request({"topic.txt": "x"})
    await world.settled()
    assert world.live() == "two"
    return first, second


async def holds(world: World) -> list[Hold]:
    mine = {row.environment_id for row in await world.deployments()}
    return await world.rows(Hold, Hold.environment_id.in_(mine), Hold.ended_at.is_(None))


async def newest(world: World) -> Deployment:
    return (await world.deployments())[-1]


async def test_back_and_held(world: World) -> None:
    """The revision before is live again by a pin of its own, with a new number; a push does not reach it."""
    first, _ = await live_twice(world)

    await world.comment("/rollback development --reason 'it is broken'")

    assert await world.results("rollback") == [("done", None)]
    assert f"`development` goes back to {first[:7]}" in world.comment_text()
    [pin], last = await world.pins(), await newest(world)
    assert (pin.commit_hash, pin.number, pin.pull_request, pin.branch) == (first, last.number, None, "main")
    assert (last.trigger, last.status, last.requested_by) == ("rollback", "succeeded", "dave")
    own = world.object("GitRepository", world.follows())
    assert own is not None
    assert own["metadata"]["annotations"]["sluice/deployment"] == str(last.number)
    [hold] = await holds(world)
    assert (hold.set_by, hold.reason, hold.deployment_id) == ("dave", "it is broken", last.id)
    assert world.live() == "development"

    third = world.push(says("three"))
    await world.settled()
    assert (world.live(), world.raw_statuses(third)) == ("development", [])
    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()
    assert len(await world.pins()) == 1  # it is no request's


async def test_it_takes_the_number_from_what_is_on_its_way(world: World) -> None:
    """A release that never gets ready is superseded, and the last good one is back."""
    _, second = await live_twice(world)
    bad = world.push({"deploy/base/deployment.yaml": deployment("web:broken-1")})
    await world.until(lambda: world.statuses(bad) and "Reconciling" in world.statuses(bad)[-1])

    await world.comment("/rollback development")

    assert (await newest(world)).commit_hash == second
    assert world.states(bad)[-1] == "error"
    assert "Superseded" in world.statuses(bad)[-1]
    [pin] = await world.pins()
    assert pin.commit_hash == second
    assert "feature gate" not in world.comment_text()


async def test_only_to_what_succeeded_here(world: World) -> None:
    """A commit that failed, one of another environment, one that nobody knows, and steps before the first: refused."""
    first, _ = await live_twice(world)
    bad = world.push({"deploy/development/kustomization.yaml": "resources: [missing.yaml]\n"})
    await world.settled()
    assert world.states(bad)[-1] == "failure"

    for word in (bad, "0123456789", "9", "#99", "00000000-0000-4000-8000-000000000000", "main"):
        await world.comment(f"/rollback development {word}")
    codes = [code for _, code in await world.results("rollback")]
    assert codes == ["never_deployed_here"] * 5 + ["usage"]
    assert await holds(world) == []
    assert await world.pins() == []

    await world.comment(f"/rollback development {first[:10]}")
    assert (await newest(world)).commit_hash == first
    assert world.live() == "development"


async def test_by_number_and_history(world: World) -> None:
    """/history names what /rollback takes, also in a comment on a commit; it has pages."""
    first, second = await live_twice(world)
    await world.comment("/history development", by="vera")
    text = world.comment_text()
    rows = [row for row in await world.deployments() if row.commit_hash == first]
    number = rows[0].number
    assert f"`#{number}` `{first[:7]}` succeeded" in text
    await world.comment("/history development --page 9", by="vera")
    assert (await world.results("history"))[-1] == ("refused", "nothing_there")

    world.forge.comment_on_commit(world.repository, second, f"/rollback development #{number}", "dave")
    await world.settled()

    assert world.live() == "development"
    await world.comment("/status", by="vera")
    assert "held since dave rolled it back" in world.comment_text()


async def test_resumed(world: World) -> None:
    """Who is held goes to main's head again; who is not is told so; a lock keeps it where it is."""
    _, second = await live_twice(world)
    await world.comment("/rollback development")
    third = world.push(says("three"))
    await world.settled()

    await world.comment("/lock development", by="maia")
    await world.comment("/resume development")
    await world.comment(f"/rollback development {second}")
    await world.comment("/resume development", by="maia")
    assert await world.results("resume") == [("refused", "lock_conflict"), ("done", None)]
    assert await holds(world) == []
    assert world.live() == "development"
    assert "and stays at" in world.comment_text()

    await world.comment("/unlock development", by="maia")
    assert (world.live(), world.follows(), await world.pins()) == ("three", "branch-main", [])
    assert world.states(third) == ["pending", "success"]
    await world.comment("/resume development")
    assert (await world.results("resume"))[-1] == ("refused", "nothing_to_resume")

    await world.comment("/rollback development")
    assert world.live() == "two"
    await world.comment("/resume development")
    assert (world.live(), world.follows(), await world.pins()) == ("three", "branch-main", [])
    assert await holds(world) == []
    assert await world.results("rollback") == [("done", None), ("refused", "lock_conflict"), ("done", None)]
