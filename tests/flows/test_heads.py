"""A command is bound to the commit that its author could know."""

import pytest

from tests.world import World, says


async def ready(world: World) -> str:
    await world.enabled("development")
    head = world.open_pull_request(says("topic"))
    await world.settled()
    return head


async def test_the_head_moved_after_the_comment(world: World) -> None:
    """The head that was known when the comment came in is not the head any more: refused, with what to write."""
    await ready(world)
    world.forge.hold_deliveries()
    world.write("/deploy development")
    moved = world.push(says("sneaked in"), branch="topic")

    world.forge.release()
    await world.settled()

    assert await world.results("deploy") == [("refused", "ref_changed")]
    assert f"/deploy development {moved[:7]}" in world.comment_text()
    assert world.live() == "development"
    assert world.raw_statuses(moved) == []


async def test_the_repeated_command(world: World) -> None:
    """What the refusal suggests works."""
    await ready(world)
    world.forge.hold_deliveries()
    world.write("/deploy development")
    moved = world.push(says("second"), branch="topic")
    world.forge.release()
    await world.settled()

    await world.comment(f"/deploy development {moved[:7]}")

    assert world.live() == "second"
    assert world.states(moved) == ["pending", "success"]


async def test_a_head_that_nobody_told(world: World) -> None:
    """The delivery that told of the head was lost: refused; with the commit it works."""
    await world.enabled("development")
    world.forge.lose_deliveries(10)
    head = world.open_pull_request(says("topic"))
    await world.settled()
    world.forge._deliveries._lose = 0

    await world.comment("/deploy development")
    assert await world.results("deploy") == [("refused", "ref_changed")]
    assert world.live() == "development"

    await world.comment(f"/deploy development {head}")
    assert (await world.results("deploy"))[-1] == ("done", None)
    assert world.live() == "topic"


async def test_the_comment_arrives_first(world: World) -> None:
    """The comment overtook the delivery that tells of its head: refused, never guessed."""
    await world.enabled("development")
    world.forge.hold_deliveries()
    world.open_pull_request(says("topic"))
    world.write("/deploy development")

    world.forge.release("reversed")
    await world.settled()

    assert await world.results("deploy") == [("refused", "ref_changed")]
    assert world.live() == "development"


@pytest.mark.parametrize("sha", ["main", "unknown", "zzz"])
async def test_a_commit_that_is_not_of_the_change(world: World, sha: str) -> None:
    """Neither main's newest commit nor one that nobody knows may be deployed by this request."""
    await ready(world)
    main = world.push({"README.md": "later"})
    await world.settled()

    await world.comment(f"/deploy development { ({'main': main, 'unknown': 'f' * 40}.get(sha, sha)) }")

    code = "usage" if sha == "zzz" else "sha_not_in_change"
    assert await world.results("deploy") == [("refused", code)]
    assert world.live() == "development"


async def test_an_earlier_commit_of_the_change(world: World) -> None:
    """A commit of the request that is not its head is deployed by its name."""
    first = await ready(world)
    world.push(says("second"), branch="topic")
    await world.settled()

    await world.comment(f"/deploy development {first[:8]}")

    assert world.live() == "topic"


async def test_behind(world: World) -> None:
    """A head that lacks main's commits would take them out: refused, unless it is said that this is meant."""
    await ready(world)
    world.push({"deploy/development/kustomization.yaml": "resources: [../base, config.yaml] # newer\n"})
    await world.settled()

    await world.comment("/deploy development")
    assert await world.results("deploy") == [("refused", "behind")]
    assert world.live() == "development"

    await world.comment("/deploy development --behind")
    assert world.live() == "topic"


async def test_a_change_without_the_folder(world: World) -> None:
    """A change that removes the environment's folder is refused before anything is pinned."""
    await world.enabled("development")
    world.open_pull_request(
        dict.fromkeys(("deploy/development/kustomization.yaml", "deploy/development/config.yaml")), by="dave"
    )
    await world.settled()

    await world.comment("/deploy development")

    assert await world.results("deploy") == [("refused", "path_missing")]
    assert await world.pins() == []


async def test_an_unknown_target(world: World) -> None:
    """A target that does not exist is refused with those that do."""
    await ready(world)

    await world.comment("/deploy prod")

    assert await world.results("deploy") == [("refused", "target_unknown")]
    assert "`development`" in world.comment_text()
