"""GitOps is taken away again: what runs keeps running, or goes with it where somebody said how much that is."""

import asyncio
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from handlers.commands.disable import PATIENCE
from models import Environment, GitopsResource, Project, Run
from tests.thorough import sample
from tests.world import World, says

pytestmark = pytest.mark.thorough

SEED = 20261122
FLUX = ("GitRepository", "Kustomization")


class Before:
    """What there was when GitOps was enabled."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.namespace = world.namespace()

    def target(self, environment: str = "development") -> str:
        return f"{self.namespace}-{environment}"

    def runs(self, environment: str = "development") -> bool:
        """Whether the environment's workload is there."""
        return self.world.cluster.get("Deployment", self.target(environment), "web") is not None

    def left(self, *environments: str) -> list[str]:
        """What is left of Sluice's own, beside the namespaces."""
        kinds = (*FLUX, "Secret", "ServiceAccount")
        found = [f"{kind}/{one['metadata']['name']}" for kind in kinds for one in self.listed(kind, self.namespace)]
        bound = [one for name in environments for one in self.listed("RoleBinding", self.target(name))]
        return found + [f"RoleBinding/{one['metadata']['name']}" for one in bound]

    def listed(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        return self.world.cluster.list(kind, namespace)


async def enabled(world: World, *environments: str) -> Before:
    await world.enabled(*environments)
    return Before(world)


async def rows(world: World) -> tuple[list[Project], list[Environment], list[GitopsResource]]:
    """The rows of this repository that are not deleted."""
    id = await world.repository_id()
    projects = await world.rows(Project, Project.repository_id == id, Project.deleted_at.is_(None))
    ids = [each.id for each in await world.rows(Project, Project.repository_id == id)]
    environments = await world.rows(Environment, Environment.project_id.in_(ids), Environment.deleted_at.is_(None))
    resources = await world.rows(
        GitopsResource, GitopsResource.project_id.in_(ids), GitopsResource.deleted_at.is_(None)
    )
    return projects, environments, resources


@pytest.mark.long
async def test_what_runs_keeps_running(world: World) -> None:
    """Flux's objects, the Secret, accounts and bindings are gone; the workloads were not touched."""
    before = await enabled(world, "development", "staging")
    uid = world.cluster.get("Deployment", before.target(), "web")["metadata"]["uid"]  # type: ignore[index]

    await world.comment("/disable", by="alice")

    assert await world.results("disable") == [("done", None)], world.comment_text()
    assert before.left("development", "staging") == []
    found = world.cluster.get("Deployment", before.target(), "web")
    assert found is not None
    assert found["metadata"]["uid"] == uid
    assert before.runs("staging")
    assert await rows(world) == ([], [], [])
    assert "keeps running" in world.comment_text()
    assert [event.action for event in await world.events("project.disabled")] != []


async def test_orphaned_before_deleted(world: World) -> None:
    """Each Kustomization says Orphan before it is deleted, even one that said otherwise."""
    before = await enabled(world)
    world.cluster.patch("Kustomization", before.namespace, "development", {"spec": {"deletionPolicy": "Delete"}}, "x")

    await world.comment("/disable", by="alice")

    assert before.runs()
    assert before.left("development") == []


async def test_sources_and_rights_go_last(world: World) -> None:
    """Without its binding Flux's finalizer hangs, without its account it prunes nothing: both go after it."""
    before = await enabled(world)
    world.cluster.writes.clear()

    await world.comment("/disable", by="alice")

    gone = [(kind, name) for verb, kind, name, _ in world.cluster.writes if verb == "delete"]
    finalized = [name for verb, kind, name, _ in world.cluster.writes if kind == "Kustomization"]
    assert gone[0] == ("Kustomization", f"{before.namespace}/development")
    order = [kind for kind, _ in gone]
    assert order.index("GitRepository") > order.index("Kustomization")
    assert order.index("RoleBinding") > order.index("GitRepository")
    assert order.index("Secret") > order.index("GitRepository")
    assert finalized


async def test_an_older_definition(world: World) -> None:
    """Where Kustomizations have no deletionPolicy, prune is taken away instead."""
    before = await enabled(world)
    world.cluster.drop_field("Kustomization", "deletionPolicy")
    found = world.cluster.get("Kustomization", before.namespace, "development")
    assert found is not None
    spec = {key: value for key, value in found["spec"].items() if key != "deletionPolicy"}
    world.cluster.patch(
        "Kustomization", before.namespace, "development", {"spec": spec | {"deletionPolicy": None}}, "x"
    )
    try:
        await world.comment("/disable", by="alice")
        assert await world.results("disable") == [("done", None)], world.comment_text()
        assert before.runs()
        assert before.left("development") == []
    finally:
        world.cluster.restore_fields("Kustomization")


@pytest.mark.long
async def test_prune_says_first_what_goes(world: World) -> None:
    """The first answer lists every object; only the right number removes them, and nothing else is removed."""
    before = await enabled(world, "development", "staging")
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "by-hand", "namespace": before.target()}}
    world.cluster.apply(other, "somebody")

    await world.comment("/disable --prune", by="alice")
    assert await world.results("disable") == [("refused", "confirm_needed")]
    listed = re.findall(r"- .*?(Deployment|ConfigMap) (project-\S+?)[`<]", world.comment_text())
    names = {f"{before.target(name)}/{thing}" for name in ("development", "staging") for thing in ("web", "config")}
    assert {name for _, name in listed} == names
    assert before.runs()

    await world.comment("/disable --prune --confirm 3", by="alice")
    assert (await world.results("disable"))[1:] == [("refused", "confirm_needed")]
    await world.comment("/disable --prune --confirm 4", by="alice")

    assert (await world.results("disable"))[2:] == [("done", None)], world.comment_text()
    assert not before.runs()
    assert not before.runs("staging")
    assert world.cluster.get("ConfigMap", before.target(), "config") is None
    assert world.cluster.get("ConfigMap", before.target(), "by-hand") is not None
    assert before.left("development", "staging") == []


async def test_what_is_suspended_would_not_be_pruned(world: World) -> None:
    """Flux prunes nothing for a suspended object, so what is listed would not go."""
    before = await enabled(world)
    world.cluster.patch("Kustomization", before.namespace, "development", {"spec": {"suspend": True}}, "somebody")

    await world.comment("/disable --prune", by="alice")

    assert await world.results("disable") == [("refused", "suspended")]
    await world.comment("/disable", by="alice")
    assert before.runs()
    assert before.left("development") == []


async def test_a_finalizer_that_does_not_end(world: World) -> None:
    """Without its controller nothing goes on and nothing is forced; it is said, and ends when Flux is back."""
    before = await enabled(world)
    flux = world.place.town.flux
    await asyncio.to_thread(flux.stop)
    try:
        world.write("/disable", by="alice")
        await world.until(lambda: _is_terminating(world, before))
        [run] = await world.until(lambda: world.runs("disable"))
        assert run.status == "queued"
        sha = world.push(says("later"))
        await world.execute(sa.update(Run).where(Run.id == run.id).values(created_at=datetime.now(UTC) - PATIENCE))
        await world.settled(hurry=True)
        assert await world.results("disable") == [("failed", "finalizer_stuck")]
        assert f"Kustomization {before.namespace}/development" in world.comment_text()
        assert world.raw_statuses(sha) == []
        await world.comment("/enable development", by="alice")
        assert (await world.results("enable"))[1:] == [("refused", "wrong_state")]
        kept = world.cluster.get("Kustomization", before.namespace, "development")
        assert kept is not None
        assert kept["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
        assert before.left("development") != []
    finally:
        await asyncio.to_thread(flux.start)
    await world.comment("/disable", by="alice")
    assert (await world.results("disable"))[1:] == [("done", None)], world.comment_text()
    assert before.runs()
    assert before.left("development") == []


def _is_terminating(world: World, before: Before) -> bool:
    found = world.cluster.get("Kustomization", before.namespace, "development")
    return found is not None and "deletionTimestamp" in found["metadata"]


async def test_a_pin_goes_as_well(world: World) -> None:
    """A pinned environment's own source and the branch that keeps it are gone; its request may be closed later."""
    before = await enabled(world)
    head = world.open_pull_request(says("topic"))
    await world.settled()
    await world.comment("/deploy development")
    world.push(says("on"), branch="topic", force_parent=world.first_commit)  # the pinned commit needs a branch
    await world.settled()
    assert [name for name in world.forge.store.branches(world.repository) if name.startswith("sluice/keep/")]

    await world.comment("/disable", by="alice")

    assert before.left("development") == []
    assert await world.pins() == []
    assert not [name for name in world.forge.store.branches(world.repository) if name.startswith("sluice/keep/")]
    assert world.cluster.get("ConfigMap", before.target(), "config")["data"]["said"] == "topic"  # type: ignore[index]
    world.forge.close_pull_request(world.repository, world.number, by="dave")
    await world.settled()
    assert world.states(head)[-1] == "success"


async def test_enabled_anew(world: World) -> None:
    """Afterwards `/enable` makes everything again, in namespaces of a new project."""
    before = await enabled(world)
    await world.comment("/disable", by="alice")
    await world.comment("/enable development", by="alice")

    world._namespace = ""  # the project is another one now
    again = Before(world)
    assert again.namespace != before.namespace
    assert again.runs()
    sha = world.push(says("again"))
    await world.settled()
    assert world.states(sha)[-1] == "success"
    assert world.live() == "again"


async def test_who_may_and_what_is_there(world: World) -> None:
    """Only admins; only where GitOps is; and a number only where something is to be removed."""
    await enabled(world)
    await world.comment("/disable", by="dave")
    await world.comment("/disable --confirm 3", by="alice")
    await world.comment("/disable", by="alice")
    await world.comment("/disable", by="alice")
    assert await world.results("disable") == [
        ("refused", "not_permitted"),
        ("refused", "usage"),
        ("done", None),
        ("refused", "not_enabled"),
    ]


STEPS = 60  # about how many it has


@pytest.mark.long
async def test_killed_anywhere(world: World) -> None:
    """Wherever Sluice dies, it ends the same: nothing of its own is left, and what runs keeps running."""
    world.may_log_errors = True
    await world.enabled()
    for step in sample(sorted(random.Random(SEED).sample(range(STEPS), 2)), list(range(STEPS))):
        before = Before(world)
        world.place.life.dies_at(step)
        world.write("/disable", by="alice")
        await _died_or_settled(world)
        await world.kill()
        await world.rise()
        await world.settled(hurry=True)
        assert set(await world.results("disable")) == {("done", None)}, (step, world.comment_text())
        assert before.left("development") == [], step
        assert before.runs(), step
        assert await rows(world) == ([], [], []), step
        await world.comment("/enable development", by="alice")
    assert len(world.comments()) == 1


async def _died_or_settled(world: World) -> None:
    await world.forge.settled()

    async def over() -> bool:
        return world.place.life.dead or await world.idle()

    await world.until(over)
