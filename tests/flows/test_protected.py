"""Protected environments go back at once, and on only by their gates; what runs in one is brought to another."""

import pytest

from tests.flows.test_approvals import enabled, last, waiting
from tests.flows.test_rollback import holds
from tests.world import World, says

pytestmark = pytest.mark.long

ONE = "approvals: 1"
CONFIG = """\
version: 1
environments:
  development: {path: deploy/development}
  production: {path: deploy/production, approvals: 1}
"""


async def merged(world: World, text: str, **more: str) -> str:
    """Dave's request for production (and other environments) is merged, comments go there; main's commit."""
    changes = says(text, "production")
    for name, said in more.items():
        changes |= says(said, name)
    world.open_pull_request(changes, branch=text)
    await world.settled()
    sha = world.forge.merge_pull_request(world.repository, world.number, "dave")
    await world.settled()
    return sha


async def test_back_held_and_resumed(world: World) -> None:
    """Without approvals, over what waits; held against /deploy and pushes; resumed, the newest waits for approval."""
    number = await enabled(world, ONE)
    first = world.head()
    await world.comment("/approve production", by="maia", on=number)
    assert world.live("production") == "production"
    await merged(world, "two")
    await world.comment("/approve production", by="maia")
    assert world.live("production") == "two"
    third = await merged(world, "three")
    assert [row.commit_hash for row in await waiting(world)] == [third]

    await world.comment("/rollback production", by="dave")

    assert world.live("production") == "production"
    assert await last(world, third) == ("superseded", None)
    [row] = (await world.deployments(first))[-1:]
    assert (row.trigger, row.status, row.pull_request) == ("rollback", "succeeded", world.number)
    assert [hold.set_by for hold in await holds(world)] == ["dave"]

    await world.comment(f"/deploy production {third}")
    assert (await world.results("deploy"))[-1] == ("refused", "held")
    fourth = await merged(world, "four")
    await world.comment("/approve production", by="maia")
    assert [row.commit_hash for row in await waiting(world)] == [fourth]
    assert world.live("production") == "production"
    await world.comment("/status")
    assert "held since dave rolled it back" in world.comment_text()

    await world.comment("/resume production")
    assert await holds(world) == []
    assert await world.results("resume") == [("done", None)]
    await world.comment("/approve production", by="maia")
    assert world.live("production") == "four"
    await world.comment("/resume production")
    assert (await world.results("resume"))[-1] == ("refused", "nothing_to_resume")


async def test_what_runs_in_one_is_promoted(world: World) -> None:
    """The gates of the other environment decide; one without gates is pinned to it."""
    world.push({".sluice.yaml": CONFIG}, by="dave")
    await world.settled()
    await world.enabled("development", "production")
    sha = await merged(world, "two", development="two")
    assert (world.live(), world.live("production")) == ("two", "")
    await world.comment("/cancel production", by="alice")
    assert await waiting(world) == []

    await world.comment("/promote development production", by="alice")
    [row] = await waiting(world)
    assert (row.commit_hash, row.trigger, row.requested_by) == (sha, "promote", "alice")
    await world.comment("/approve production", by="alice")
    assert world.live("production") == ""
    await world.comment("/approve production", by="maia")
    assert world.live("production") == "two"

    await world.comment("/lock production", by="maia")
    await world.comment("/promote development production")
    await world.comment("/promote development development")
    await world.comment("/promote production development")
    assert [code for _, code in await world.results("promote")] == [None, "lock_conflict", "usage", None]
    assert {pin.commit_hash for pin in await world.pins()} == {sha}
    assert (world.follows(), world.live()) == ("pin-development", "two")


async def test_lists_narrow_who_may(world: World) -> None:
    """The environment's deployers, and nobody else, whatever their role on the forge."""
    await enabled(world, "approvals: 1, deployers: ['user:maia']")
    names = ("rollback", "lock", "resume")
    await world.comment("\n".join(f"/{name} production" for name in names), by="dave")

    assert [await world.results(name) for name in names] == [[("refused", "not_permitted")]] * 3
