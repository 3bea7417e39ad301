"""A request's head goes to an environment, stays there, and leaves when the request is closed."""

import pytest

from tests.world import World, ends, says


async def pinned(world: World, changes: dict[str, bytes | str | None] | None = None) -> str:
    """A request whose head is live in development."""
    await world.enabled("development")
    head = world.open_pull_request(changes or says("topic"))
    await world.settled()
    await world.comment("/deploy development")
    assert world.states(head) == ["pending", "success"]
    return head


def gone(world: World) -> bool:
    """Nothing of a pin is left: neither the environment's own source nor a branch that keeps its commit."""
    own = [one for one in world.cluster.list("GitRepository", world.namespace()) if "commit" in one["spec"]["ref"]]
    kept = [name for name in world.forge.store.branches(world.repository) if name.startswith("sluice/")]
    return not own and not kept


async def test_the_head_is_pinned(world: World) -> None:
    """Its own source at exactly that commit, by the request's branch, with the deployment's number."""
    head = await pinned(world)

    [pin] = await world.pins()
    own = world.object("GitRepository", world.follows())
    assert own is not None
    assert own["spec"]["ref"] == {"branch": "topic", "commit": head}
    assert own["metadata"]["annotations"]["sluice/deployment"] == str(pin.number)
    assert world.live() == "topic"
    assert f"pinned to #{world.number}" in world.comment_text()


async def test_the_commit_must_be_named(world: World) -> None:
    """Where the configuration wants that, and the refusal says what to write."""
    world.push({".sluice.yaml": "version: 1\nenvironments:\n  development: {name_commit: true}\n"})
    await world.enabled("development")
    head = world.open_pull_request(says("topic"))
    await world.settled()

    await world.comment("/deploy development")
    assert (await world.runs("deploy"))[-1].code == "commit_required"
    again = f"/deploy development {head[:7]}"
    assert f"`{again}`" in world.comment_text()
    assert world.live() != "topic"

    await world.comment(again)
    assert world.live() == "topic"


async def test_a_push_to_main_does_not_reach_it(world: World) -> None:
    """Main goes on; the pinned environment stays, and nothing is said on main's commit."""
    await pinned(world)

    sha = world.push(says("main went on"))
    await world.settled()

    assert world.live() == "topic"
    assert world.raw_statuses(sha) == []


async def test_a_push_to_the_request_does_not_reach_it(world: World) -> None:
    """The request's next commit waits until somebody deploys it."""
    await pinned(world)

    newer = world.push(says("newer"), branch="topic")
    await world.settled()
    assert world.live() == "topic"
    assert world.raw_statuses(newer) == []

    await world.comment("/deploy development")
    assert world.live() == "newer"


async def test_a_change_that_leaves_the_environment_alone(world: World) -> None:
    """A request that only touches the README is pinned and unpinned like any other."""
    head = await pinned(world, {"README.md": "topic"})
    assert world.follows() != "branch-main"

    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()

    assert world.follows() == "branch-main"
    assert gone(world)
    assert world.states(head) == ["pending", "success"]


@pytest.mark.parametrize("changes", [says("main"), {"README.md": "main"}])
async def test_deployed_while_a_push_is_under_way(world: World, changes: dict[str, bytes | str | None]) -> None:
    """A push and a /deploy at the same moment: the environment ends pinned to the request."""
    await world.enabled("development")
    world.open_pull_request({"topic.txt": "x"})
    await world.settled()
    world.forge.hold_deliveries()
    world.push(changes)
    world.write("/deploy development --behind")

    world.forge.release()
    await world.settled()

    assert len(await world.pins()) == 1
    assert world.follows() != "branch-main"


async def test_closing_unpins(world: World) -> None:
    """The environment follows main again, at main's newest commit, and the pin's objects are gone."""
    await pinned(world)
    main = world.push(says("main went on"))
    await world.settled()

    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()

    assert await world.pins() == []
    assert world.live() == "main went on"
    assert world.follows() == "branch-main"
    assert world.states(main) == ["pending", "success"]
    assert gone(world)


async def test_merging_unpins(world: World) -> None:
    """After the merge main holds the change, and the environment follows main."""
    await pinned(world)

    merged = world.forge.merge_pull_request(world.repository, world.number, "dave")
    await world.settled()

    assert await world.pins() == []
    assert world.live() == "topic"
    assert world.follows() == "branch-main"
    assert world.states(merged) == ["pending", "success"]
    assert gone(world)


async def test_reopened(world: World) -> None:
    """A request that is opened again may be deployed again."""
    await pinned(world)
    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()

    world.forge.reopen_pull_request(world.repository, world.number, "dave")
    await world.settled()
    assert world.live() == "development"

    await world.comment("/deploy development")
    assert world.live() == "topic"
    assert len(await world.pins()) == 1


async def test_closed_and_reopened_at_once(world: World) -> None:
    """The deliveries of a closing and a reopening arrive together: the pin stays."""
    await pinned(world)
    world.forge.hold_deliveries()
    world.forge.close_pull_request(world.repository, world.number, "dave")
    world.forge.reopen_pull_request(world.repository, world.number, "dave")

    world.forge.release()
    await world.settled()

    assert len(await world.pins()) == 1
    assert world.live() == "topic"


async def test_a_second_request_takes_over(world: World) -> None:
    """The second request's head replaces the first's; closing the first changes nothing then."""
    await pinned(world)
    first = world.number
    head = world.open_pull_request(says("second"), branch="second")
    await world.settled()

    await world.comment("/deploy development")
    assert world.live() == "second"
    world.forge.close_pull_request(world.repository, first, "dave")
    await world.settled()

    [pin] = await world.pins()
    assert (pin.pull_request, pin.commit_hash) == (world.number, head)
    assert world.live() == "second"


async def test_the_branch_is_deleted_under_the_pin(world: World) -> None:
    """The request's branch goes away: a branch of ours keeps the commit in Flux's reach until it is unpinned."""
    head = await pinned(world)
    world.place.town.forge.lose_deliveries(0)

    world.forge.hold_deliveries()
    world.forge.delete_branch(world.repository, "topic", "dave")
    held = [one for one in world.forge.deliveries if one.delivered_at is None and one.event == "push"]
    assert held
    world.send("push", held[0].body)
    await world.until(lambda: [name for name in world.forge.store.branches(world.repository) if "sluice/keep" in name])
    await world.until(lambda: _ref(world) == {"branch": "sluice/keep/" + _slug(world), "commit": head})
    world.forge.release()
    await world.settled()

    assert await world.pins() == []  # GitHub closes a request whose branch is gone
    assert world.live() == "development"
    assert gone(world)


async def test_the_branch_is_rewritten_under_the_pin(world: World) -> None:
    """A forced push leaves the pinned commit without a branch: ours keeps it, and Flux can still fetch it."""
    head = await pinned(world)

    world.push(says("rewritten"), branch="topic", force_parent=world.head("main"))
    await world.settled()

    assert _ref(world) == {"branch": "sluice/keep/" + _slug(world), "commit": head}
    assert world.live() == "topic"
    await world.comment("/sync development")
    await world.until(lambda: _ready(world) == ("True", head))
    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()
    assert gone(world)


async def test_a_broken_head(world: World) -> None:
    """A head that does not build is red, and the environment can go back by closing the request."""
    await world.enabled("development")
    head = world.open_pull_request({"deploy/development/kustomization.yaml": "resources: [missing.yaml]\n"})
    await world.settled()

    await world.comment("/deploy development")
    [end] = ends(world.statuses(head))
    assert end.startswith("failure: ")
    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()

    assert world.live() == "development"
    assert world.follows() == "branch-main"
    assert gone(world)


def _ref(world: World) -> object:
    own = world.object("GitRepository", world.follows())
    return own["spec"]["ref"] if own else None


def _slug(world: World) -> str:
    return f"{world.repository.partition('/')[2]}/development"


def _ready(world: World) -> tuple[str, str]:
    own = world.object("GitRepository", world.follows())
    assert own is not None
    [ready] = [each for each in own["status"]["conditions"] if each["type"] == "Ready"]
    return ready["status"], own["status"]["artifact"]["revision"].rpartition(":")[2]
