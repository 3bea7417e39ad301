"""Volumes, namespaces and definitions go only when somebody said so."""

import msgspec
import pytest

from bot.simulating import Question, simulate
from tests.flows.test_approvals import enabled, last, voices, waiting
from tests.world import World, says

pytestmark = pytest.mark.long

DATA = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {}\n"
HOME = "deploy/production/kustomization.yaml"
WITH = {HOME: "resources: [../base, config.yaml, data.yaml]\n", "deploy/production/data.yaml": DATA}
WITHOUT = {HOME: "resources: [../base, config.yaml]\n"}


def has_volume(world: World) -> bool:
    """Whether the claim is in the cluster."""
    return world.cluster.get("PersistentVolumeClaim", f"{world.namespace()}-production", "data") is not None


def named(world: World) -> str:
    """The claim, as people are told of it."""
    return f"PersistentVolumeClaim {world.namespace()}-production/data"


async def with_volume(world: World) -> int:
    """Production has a claim; the request that it was enabled on."""
    world.push(WITH)
    number = await enabled(world, "approvals: 1")
    await world.comment("/approve production", by="maia", on=number)
    assert has_volume(world), world.comment_text(number)
    return number


async def test_what_somebody_asks_for(world: World) -> None:
    """Refused with its name, let wait when it was said, and gone when that was approved; back and forth by rollback."""
    await with_volume(world)
    first = world.head()
    head = world.open_pull_request(WITHOUT | says("two", "production"))

    await world.comment("/deploy production")
    assert await world.results("deploy") == [("refused", "prune_unconfirmed")]
    assert f"`{named(world)}`" in world.comment_text()
    await world.comment("/why production")
    assert "it would remove" in world.comment_text()
    question = Question(
        repository=world.repository, login="dave", command="deploy", target="production", pull_request=world.number
    )
    [answer] = await simulate(world.place.settings, question)
    assert answer.verdict.first is not None
    assert answer.verdict.first.code == "prune_unconfirmed"
    said = msgspec.structs.replace(question, prune_confirmed=True)
    [answer] = await simulate(world.place.settings, said)
    assert answer.verdict.outcome == "wait"

    await world.comment("/deploy production --prune-confirmed")
    [row] = await waiting(world)
    assert (row.commit_hash, row.prunes) == (head, [named(world)])
    assert has_volume(world)
    await world.comment("/approve production", by="maia")
    assert await last(world, head) == ("succeeded", None)
    assert not has_volume(world)

    await world.comment(f"/rollback production {first}")
    assert has_volume(world)
    await world.comment(f"/rollback production {head}")
    assert await world.results("rollback") == [("done", None), ("refused", "prune_unconfirmed")]
    assert has_volume(world)
    await world.comment(f"/rollback production {head} --prune-confirmed")
    assert not has_volume(world)
    assert (await world.deployments(head))[-1].prunes == [named(world)]


async def test_what_a_push_brings(world: World) -> None:
    """It waits, also when it is approved; what is confirmed is approved anew."""
    await with_volume(world)
    world.open_pull_request(WITHOUT)
    head = world.forge.merge_pull_request(world.repository, world.number, "dave")
    await world.settled()
    assert "Waiting: it would remove PersistentVolumeClaim" in world.statuses(head, "production")[-1]
    await world.comment("/approve production", by="maia")
    assert [row.commit_hash for row in await waiting(world)] == [head]

    await world.comment(f"/deploy production {head[:10]} --prune-confirmed", by="alice")
    [row] = await waiting(world)
    assert (row.trigger, row.prunes) == ("deploy", [named(world)])
    assert (await voices(world))[-1] == ("maia", "overtaken")
    assert has_volume(world)

    await world.comment("/approve production", by="maia")
    assert not has_volume(world)
