"""A pin that another hand moves is told, once; it is put back where the operator wants that, and said when it holds."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.flux.observer import Seen
from bot.observing import UNMOVED, Observations
from bot.store import gates
from models import GitopsResource
from models.base import now
from tests.flows.test_pins import pinned
from tests.world import PAST, World, says

pytestmark = pytest.mark.thorough

RESTORING = pytest.mark.parametrize("environ", [{"SLUICE_RESTORE_PINS": "true"}])


async def own_row(world: World) -> GitopsResource:
    """The row of the pinned environment's own source."""
    [row] = await world.rows(
        GitopsResource,
        GitopsResource.namespace == world.namespace(),
        GitopsResource.type == "git-repository",
        GitopsResource.environment_id.is_not(None),
    )
    return row


def move(world: World, commit: str | None, manager: str = "kubectl-edit") -> None:
    """Another hand moves the pin of development."""
    world.may_end_twice = True
    ref = {"branch": "topic", "commit": commit}
    world.cluster.patch("GitRepository", world.namespace(), world.follows(), {"spec": {"ref": ref}}, manager)


async def broken(world: World) -> list[tuple[str | None, str, str]]:
    """What the log says of it: (who, found, wanted)."""
    row = await own_row(world)
    found = [event for event in await world.events("gate.broken") if event.resource_id == row.id]
    assert {event.severity for event in found} <= {"critical"}
    return [(event.actor, event.details["found"], event.details["wanted"]) for event in found]


async def told(world: World, head: str, times: int = 1) -> None:
    """Wait until it is in the log and on the commit."""

    async def seen() -> bool:
        return len(await broken(world)) == times and world.states(head)[-1] == "failure"

    await world.until(seen)
    await world.settled()


@pytest.mark.long
async def test_a_broken_gate_is_told_and_left(world: World) -> None:
    """Event, status and comment say it; the pin is not touched, and it is told once however often it is seen."""
    head = await pinned(world)
    other = world.push(says("unapproved"), branch="topic")
    move(world, other)
    await told(world, head)

    assert await broken(world) == [("kubectl-edit", other, head)]
    text = f"another hand moved the pin from {head[:7]} to {other[:7]}"
    assert text in world.statuses(head)[-1]
    assert text in world.comment_text()
    await asyncio.to_thread(
        world.cluster.patch,
        "GitRepository",
        world.namespace(),
        world.follows(),
        {"metadata": {"annotations": {"seen": "again"}}},
        "kubectl",
    )
    await world.restart()
    await world.settled()
    assert len(await broken(world)) == 1
    found = world.object("GitRepository", world.follows())
    assert found is not None
    assert found["spec"]["ref"]["commit"] == other
    assert [each.status for each in await world.deployments(head)] == ["succeeded"]


@pytest.mark.long
async def test_mended_by_hand(world: World) -> None:
    """Whoever puts the pin back is believed: the status and the comment are as before."""
    head = await pinned(world)
    said = world.statuses(head)[-1]
    move(world, world.push(says("unapproved"), branch="topic"))
    await told(world, head)
    move(world, head)
    await world.until(lambda: world.statuses(head)[-1] == said)
    await world.settled()
    assert "another hand" not in world.comment_text()
    assert gates.mark_of(await own_row(world)) is None

    other = world.push(says("once more"), branch="topic")
    move(world, other)
    await told(world, head, times=2)


async def test_a_deployment_does_not_take_the_pin_back(world: World) -> None:
    """The other hand owns the field now: the next deployment says whose it is, instead of writing over it."""
    head = await pinned(world)
    other = world.push(says("unapproved"), branch="topic")
    move(world, other)
    await told(world, head)
    newer = world.push(says("newer"), branch="topic")
    await world.settled()
    await world.comment("/deploy development")
    assert world.states(newer)[-1] == "failure"
    assert "kubectl-edit" in world.statuses(newer)[-1]
    [deployment] = await world.deployments(newer)
    assert deployment.reason == "field_conflict"

    await world.comment("/deploy development --take-over", by="maia")
    assert (await world.results("deploy"))[-1] == ("refused", "not_permitted")
    await world.comment("/deploy development --take-over", by="alice")
    taken = await world.deployments(newer)
    assert [(row.status, row.take_over) for row in taken] == [
        ("failed", None),
        ("succeeded", [".spec.ref.commit of kubectl-edit"]),
    ]
    assert world.live() == "newer"
    assert "took over .spec.ref.commit of kubectl-edit" in world.comment_text()
    [event] = [each for each in await world.events("gitops.fields.taken") if each.resource_id == taken[-1].id]
    assert (event.actor, event.details["fields"]) == ("alice", taken[-1].take_over)
    owners = world.object("GitRepository", world.follows())["metadata"]["managedFields"]  # type: ignore[index]
    assert not any(each["manager"] == "kubectl-edit" and "f:commit" in str(each) for each in owners)


async def test_going_back_takes_the_pin_back(world: World) -> None:
    """A rollback stops at another hand's pin like any deployment; an admin's word takes it over."""
    head = await pinned(world)
    newer = world.push(says("newer"), branch="topic")
    await world.settled()
    await world.comment("/deploy development")
    world.may_end_twice = True
    move(world, world.push(says("unapproved"), branch="topic"))
    await told(world, newer)
    await world.comment(f"/rollback development {head}")
    assert world.states(head)[-1] == "failure"
    assert "kubectl-edit" in world.statuses(head)[-1]
    await world.comment(f"/rollback development {head} --take-over", by="maia")
    assert (await world.results("rollback"))[-1] == ("refused", "not_permitted")
    await world.comment(f"/rollback development {head} --take-over", by="alice")
    assert world.states(head)[-1] == "success"
    assert world.live() == "topic"
    [taken] = [row for row in await world.deployments(head) if row.take_over]
    assert (taken.trigger, taken.status) == ("rollback", "succeeded")


async def test_enabling_takes_back_what_conflicts(world: World) -> None:
    """Another hand's field stops `/enable`, which names it; with an admin's word it is ours again, and told."""
    await world.enabled("development")
    world.cluster.patch("Kustomization", world.namespace(), "development", {"spec": {"interval": "1h"}}, "kubectl-edit")
    await world.settled()
    world.open_pull_request({"again.txt": "x"}, "alice", branch="again")
    await world.comment("/enable development", by="alice")
    assert (await world.results("enable"))[-1] == ("refused", "field_conflict")

    await world.comment("/enable development --take-over", by="alice")
    assert (await world.results("enable"))[-1] == ("done", None), world.comment_text()
    found = world.object("Kustomization", "development")
    assert found is not None
    assert found["spec"]["interval"] == "10m"
    assert ".spec.interval of kubectl-edit" in world.comment_text()
    assert any(
        ".spec.interval of kubectl-edit" in str(each.details) for each in await world.events("gitops.fields.taken")
    )


@RESTORING
async def test_put_back_where_the_operator_wants_it(world: World) -> None:
    """The event stays, the pin says again what was approved."""
    head = await pinned(world)
    other = world.push(says("unapproved"), branch="topic")
    move(world, other)

    async def restored() -> bool:
        found = world.object("GitRepository", world.follows())
        mended = [event for event in await world.events("gate.mended") if event.details["found"] == other]
        return found is not None and found["spec"]["ref"]["commit"] == head and bool(mended)

    await world.until(restored)
    await world.settled()
    assert await broken(world) == [("kubectl-edit", other, head)]
    await world.until(lambda: world.live() == "topic")
    assert world.states(head)[-1] == "success"


async def test_a_pin_without_commit_is_broken(world: World) -> None:
    """Following the branch instead of a commit is the widest break."""
    head = await pinned(world)
    move(world, None)
    await told(world, head)
    assert "to no commit" in world.statuses(head)[-1]


async def test_deployments_are_told_as_syncs(world: World) -> None:
    """Started and completed once each, with who, what and where."""
    head = await pinned(world)
    [deployment] = await world.deployments(head)
    for step in ("started", "completed"):
        events = await world.events(f"gitops.sync.{step}")
        [event] = [each for each in events if each.details.get("deployment") == str(deployment.id)]
        assert (event.resource_type, event.resource_id) == ("gitops_resource", deployment.gitops_resource_id)
        assert (event.actor, event.details["revision"]) == ("dave", head)
        assert event.organization_id is not None
    fetched = [each for each in await world.events("gitops.sync.completed") if each.resource_id == deployment.source_id]
    assert [each.details["revision"] for each in fetched] == [f"topic@sha1:{head}"]


async def test_objects_are_told_when_they_come_change_and_go(world: World) -> None:
    """Created once, updated with each change of the spec, deleted, and created again by whoever does."""
    await world.enabled("development")
    [row] = await world.rows(
        GitopsResource, GitopsResource.type == "kustomization", GitopsResource.namespace == world.namespace()
    )

    async def names() -> list[str]:
        steps = ("created", "updated", "deleted")
        rows = [event for step in steps for event in await world.events(f"gitops.resource.{step}")]
        return [
            event.action.rpartition(".")[2]
            for event in sorted(rows, key=lambda each: each.created_at)
            if event.resource_id == row.id
        ]

    assert await names() == ["created"]
    await world.restart()
    await world.settled()
    assert await names() == ["created"]
    world.cluster.patch("Kustomization", row.namespace, row.name, {"spec": {"interval": "11m"}}, "kubectl")
    await world.until(lambda: _has(names, ["created", "updated"]))
    world.cluster.patch("Kustomization", row.namespace, row.name, {"spec": {"deletionPolicy": "Orphan"}}, "kubectl")
    world.cluster.delete("Kustomization", row.namespace, row.name)
    await world.until(lambda: _has(names, ["created", "updated", "deleted"]))
    [gone] = await world.rows(GitopsResource, GitopsResource.id == row.id)
    assert (gone.status, gone.status_reason, gone.uid) == ("failed", "Missing", None)


async def _has(names: object, wanted: list[str]) -> bool:
    found = await names()  # type: ignore[operator]
    return bool(found == wanted)


async def test_nothing_reconciles_for_ever(world: World) -> None:
    """An event that was lost is made good: a row of which nothing was heard is looked at again."""
    await world.enabled("development")
    where = (GitopsResource.type == "kustomization", GitopsResource.namespace == world.namespace())
    stale = {"status": "reconciling", "last_status_update_at": PAST, "last_applied_revision": "old"}
    await world.execute(sa.update(GitopsResource).where(*where).values(stale))
    observations: Observations = world.place.backend._observations["default"]
    await world.on_the_workers_loop(observations.look_again)
    [row] = await world.rows(GitopsResource, *where)
    assert row.status == "ready"
    assert row.last_applied_revision == f"main@sha1:{world.head()}"
    assert row.last_status_update_at is not None
    assert now() - row.last_status_update_at < UNMOVED


async def test_what_the_observer_tells_late_breaks_no_gate(world: World) -> None:
    """An older state of the object, told after the pin has moved on, is compared with the object itself."""
    head = await pinned(world)
    found = world.object("GitRepository", world.follows())
    assert found is not None
    metadata, observations = found["metadata"], world.place.backend._observations["default"]
    old = {**found, "spec": {**found["spec"], "ref": {"branch": "topic", "commit": "f" * 40}}}
    seen = Seen(
        cluster="default",
        kind="GitRepository",
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version="1",
        object=old,
    )
    await world.on_the_workers_loop(lambda: observations.changed(seen))
    await world.settled()
    assert await broken(world) == []
    assert world.states(head) == ["pending", "success"]


@pytest.mark.long
async def test_a_backup_is_restored(world: World) -> None:
    """Nothing is done again, the gap is told, and the next deployment is newer than what runs."""
    head = await pinned(world)
    world.may_end_twice = True
    kept = await asyncio.to_thread(backup, world)
    later = world.push(says("later"), branch="topic")
    await world.settled()
    await world.comment("/deploy development")
    assert world.live() == "later"
    effects = len(world.effects(kind="status"))

    await world.restart_around(kept)
    await told(world, head)
    assert world.live() == "later"
    assert await broken(world) == [("sluice", later, head)]
    assert world.statuses(head)[-1].endswith("is in the cluster only; was a backup restored?")
    assert "is in the cluster only" in world.comment_text()
    assert await world.deployments(later) == []
    assert len(world.effects(kind="status")) == effects + 1

    newest = world.push(says("newest"), branch="topic")
    await world.settled()
    await world.comment("/deploy development")
    assert world.states(newest)[-1] == "success"
    assert world.live() == "newest"
    assert gates.mark_of(await own_row(world)) is None


def backup(world: World) -> Callable[[], None]:
    """Copy the database; what is called to put the copy back, while Sluice is stopped."""
    file, kept = world.place.folder / "sluice.db", world.place.folder / "kept.db"

    def copy(here: Path, there: Path) -> None:
        with closing(sqlite3.connect(here)) as source, closing(sqlite3.connect(there)) as target:
            source.backup(target)

    copy(file, kept)
    return lambda: copy(kept, file)
