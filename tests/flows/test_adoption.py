"""Flux objects that teams keep themselves: watched, asked to reconcile, reported, and never written."""

from pathlib import Path
from typing import Any

import pytest

from models import Environment, GitopsResource
from tests.flows.test_disable import rows
from tests.flows.test_enable import ask
from tests.world import World, says

pytestmark = pytest.mark.thorough

HOME = "flux-system"
POLICY = """\
version: 1
repositories:
  - match: ["**"]
    adopt: ["flux-system/web-*", "flux-system/other"]
    namespaces: ["handed-over"]
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path: Path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY)
    return {"SLUICE_POLICY_FILE": str(path)}


def kept(world: World, name: str, *, url: str = "", branch: str = "main", path: str = "./deploy/production") -> None:
    """A team's own source and Kustomization, made by themselves."""
    url = url or f"{world.forge.url}/{world.repository}.git"
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": HOME},
        "spec": {
            "url": url or f"{world.forge.url}/{world.repository}.git",
            "interval": "10m",
            "ref": {"branch": branch},
        },
    }
    applier = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": HOME},
        "spec": {
            "interval": "10m",
            "timeout": "30s",
            "path": path,
            "prune": True,
            "wait": True,
            "targetNamespace": target(name),
            "sourceRef": {"kind": "GitRepository", "name": name},
        },
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target(name)}}
    for manifest in (namespace, source, applier):
        world.cluster.apply(manifest, "flux")


def target(name: str) -> str:
    return f"{name}-home"


def theirs(world: World, name: str) -> tuple[Any, Any, Any]:
    """What Sluice must never change: the specs, the labels, who manages them."""
    found = [world.cluster.get(kind, HOME, name) for kind in ("GitRepository", "Kustomization")]
    assert all(found)
    managers = {
        each["manager"]
        for one in found
        for each in one["metadata"]["managedFields"]  # type: ignore[index]
        if "f:spec" in each.get("fieldsV1", {})
    }
    return [one["spec"] for one in found], [one["metadata"].get("labels") for one in found], managers  # type: ignore[index]


def config(name: str, more: str = "") -> dict[str, bytes | str | None]:
    return {".sluice.yaml": f"version: 1\nenvironments:\n  production: {{adopt: flux-system/{name}{more}}}\n"}


def live(world: World, name: str) -> str:
    found = world.cluster.get("ConfigMap", target(name), "config")
    return str(found["data"]["said"]) if found else ""


@pytest.fixture
def name(world: World) -> str:
    return f"web-{world.repository.rpartition('/')[2]}"


@pytest.mark.long
async def test_watched_and_reported(world: World, name: str) -> None:
    """`/enable` writes nothing; pushes are reported; `/sync` asks; `/disable` lets it be."""
    kept(world, name)
    world.push(config(name))
    before = theirs(world, name)

    assert await ask(world) == ("done", None)
    assert f"`flux-system/{name}`, which others keep" in world.comment_text()
    [project], [environment], [row] = await rows(world)
    assert project.status == "active"
    assert (row.type, row.namespace, row.name, row.adopted, row.status) == ("kustomization", HOME, name, True, "ready")
    assert environment.path == "deploy/production"
    assert world.cluster.list("Namespace", labels=f"sluice/project={project.id}") == []

    sha = world.push(says("second", "production"))
    await world.settled()
    assert world.states(sha, "production") == ["pending", "success"]
    assert live(world, name) == "second"
    other = world.push({"README.md": "nothing"})
    await world.settled()
    assert world.raw_statuses(other, "production") == []
    broken = world.push({"deploy/production/kustomization.yaml": "resources: [gone.yaml]\n"})
    await world.settled()
    assert [each.reason for each in await world.deployments(broken)] == ["build_failed"]
    world.push({"deploy/production/kustomization.yaml": "resources: [../base, config.yaml]\n"})
    await world.settled()

    await world.comment("/sync production")
    assert await world.results("sync") == [("done", None)], world.comment_text()
    await world.comment("/status")
    assert f"follows `main` by `flux-system/{name}`, which others keep" in world.comment_text()
    await world.comment("/disable", by="alice")
    assert await world.results("disable") == [("done", None)]
    assert "goes on as it was" in world.comment_text()
    assert await rows(world) == ([], [], [])
    assert theirs(world, name) == before
    assert live(world, name) == "second"


@pytest.mark.long
async def test_what_needs_a_pin(world: World, name: str) -> None:
    """`/deploy` and `/lock` say how to hand the object over; nothing is written, no branch is made."""
    kept(world, name)
    world.push(config(name))
    await ask(world)
    before = theirs(world, name)
    world.open_pull_request(says("topic", "production"), branch="change")
    await world.settled()

    await world.comment("/deploy production")
    await world.comment("/lock production")

    assert await world.results("deploy") == [("refused", "not_owned")]
    assert await world.results("lock") == [("refused", "not_owned")]
    assert "To hand it over, put a `path` in the place of `adopt`" in world.comment_text()
    assert theirs(world, name) == before
    assert [branch for branch in world.forge.store.branches(world.repository) if branch.startswith("sluice/")] == []


async def test_who_may_not(world: World, name: str) -> None:
    """Not on the list, not there, or of another repository: `not_permitted`; the last two in the same words."""
    said = []
    for wanted, made in (
        ("flux-system/unlisted", None),
        (f"flux-system/{name}", None),
        ("flux-system/other", "elsewhere"),
    ):
        if made:
            kept(world, "other", url="https://elsewhere.example/acme/other.git")
        world.push({".sluice.yaml": f"version: 1\nenvironments:\n  production: {{adopt: {wanted}}}\n"})
        assert await ask(world) == ("refused", "not_permitted")
        said.append(world.comment_text().replace(wanted, "WANTED"))
    assert "the operator does not allow" in said[0]
    assert "cannot be adopted: that takes" in said[1]
    words = [next(line for line in text.splitlines() if "cannot be adopted" in line) for text in said[1:]]
    assert words[0] == words[1]


async def test_its_owner_takes_it_elsewhere(world: World, name: str) -> None:
    """An object that goes by another repository from now on is not asked for anything any more."""
    kept(world, name)
    world.push(config(name))
    await ask(world)
    away = {"spec": {"url": "https://elsewhere.example/acme/other.git"}}
    world.cluster.patch("GitRepository", HOME, name, away, "flux")

    sha = world.push(says("second", "production"))
    await world.settled()
    await world.comment("/sync production")

    assert [each.reason for each in await world.deployments(sha)] == ["not_permitted"]
    assert await world.results("sync") == [("refused", "not_permitted")]


async def test_another_branch(world: World, name: str) -> None:
    """Reports of a branch that the object does not follow would tell of nothing; the answer names its own."""
    world.push({"a.txt": "x"}, branch="release")
    kept(world, name, branch="release")
    world.push(config(name))

    assert await ask(world) == ("refused", "config_unsupported")
    assert "follows `release`; set `branch` to it" in world.comment_text()
    world.push(config(name, ", branch: release"))
    assert await ask(world) == ("done", None)


async def test_handed_over(world: World, name: str) -> None:
    """`path` in the place of `adopt`: Sluice makes its own and forgets the other; the way back is refused."""
    kept(world, name)
    world.push(config(name))
    await ask(world)
    before = theirs(world, name)

    world.push({".sluice.yaml": "version: 1\nenvironments:\n  production: {path: deploy/production}\n"})
    assert await ask(world) == ("done", None), world.comment_text()

    _, [environment], resources = await rows(world)
    [applier] = [row for row in resources if row.type == "kustomization"]
    assert (applier.adopted, applier.id) == (False, environment.gitops_resource_id)
    live = world.cluster.get("ConfigMap", environment.target_namespace, "config")
    assert live is not None
    assert live["data"]["said"] == "production"
    assert theirs(world, name) == before
    world.push(config(name))
    assert await ask(world) == ("refused", "environment_moved")


async def test_it_is_deleted_by_its_owner(world: World, name: str) -> None:
    """Seen by name: the row says that it is missing."""
    kept(world, name)
    world.push(config(name))
    await ask(world)

    world.cluster.delete("Kustomization", HOME, name, "flux")

    async def missing() -> bool:
        [row] = (await rows(world))[2]
        return row.status_reason == "Missing"

    await world.until(missing)
    assert [type(each) for each in await world.rows(Environment)]
    assert [row for row in await world.rows(GitopsResource) if row.adopted]
