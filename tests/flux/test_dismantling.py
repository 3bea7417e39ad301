"""An environment is taken out of a cluster: by the sandbox's Flux and the real one, under the policies."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from bot import dismantling
from bot.core import inventory, manifests
from bot.core.errors import UserError
from bot.core.settling import Succeed
from bot.flux.cluster import KubernetesCluster
from models import GitopsResource
from models import Project as ProjectRow
from tests.flux.planes import Plane, SandboxPlane, eventually
from tests.flux.project import ENVIRONMENT, REPO, Project

DEFINITION = "kustomizations.kustomize.toolkit.fluxcd.io"


def row(project: Project, type: str, name: str) -> GitopsResource:
    return GitopsResource(
        type=type, name=name, namespace=project.owner.namespace, project_id=project.owner.project, cluster="default"
    )


async def live(project: Project) -> None:
    """The environment is there, and what it applied."""
    await project.enable()
    first = project.git.head(REPO, "main")
    assert first is not None
    assert (await project.deploy(first))[0] == Succeed(None, True)
    assert project.live() == "first"


async def gone(project: Project, type: str, name: str, *, prune: bool = False) -> None:
    async def check() -> bool:
        return await dismantling.is_gone(project.cluster, row(project, type, name), prune=prune)

    await eventually(check, 30)


@contextlib.asynccontextmanager
async def older_definition(plane: Plane, project: Project) -> AsyncIterator[None]:
    """Kustomizations have no deletionPolicy in this block."""
    if isinstance(plane, SandboxPlane):
        plane.cluster.drop_field("Kustomization", "deletionPolicy")
        yield
        plane.cluster.restore_fields("Kustomization")
        return
    whole = _applicable(plane.get("CustomResourceDefinition", "", DEFINITION))
    older = _applicable(plane.get("CustomResourceDefinition", "", DEFINITION))
    for version in older["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].pop("deletionPolicy", None)
    plane.apply(older, "tests")
    await eventually(lambda: _knows(project.cluster, project, known=False), 30)
    try:
        yield
    finally:
        plane.apply(whole, "tests")
        await eventually(lambda: _knows(project.cluster, project, known=True), 30)


def _applicable(found: dict[str, Any] | None) -> dict[str, Any]:
    assert found is not None
    kept = {key: found[key] for key in ("apiVersion", "kind", "spec")}
    return kept | {"metadata": {"name": found["metadata"]["name"]}}


async def _knows(cluster: KubernetesCluster, project: Project, *, known: bool) -> bool:
    try:
        await cluster.apply(project.rollout("branch-main"), dry=True)
    except UserError as error:
        return not known and error.code == "field_unknown"
    return known


async def test_what_it_applied_stays(plane: Plane, project: Project) -> None:
    """The Kustomization, then its source are gone; the ConfigMap was not touched."""
    await live(project)
    before = plane.get("ConfigMap", project.target, "web")
    await gone(project, "kustomization", ENVIRONMENT)
    await gone(project, "git-repository", "branch-main")
    assert plane.get("Kustomization", project.owner.namespace, ENVIRONMENT) is None
    assert plane.get("GitRepository", project.owner.namespace, "branch-main") is None
    after = plane.get("ConfigMap", project.target, "web")
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_with_an_older_definition(plane: Plane, project: Project) -> None:
    """Without deletionPolicy it says prune: false; what it applied stays as well."""
    await live(project)
    async with older_definition(plane, project):
        await gone(project, "kustomization", ENVIRONMENT)
    assert project.live() == "first"


async def test_pruned_is_what_was_listed(plane: Plane, project: Project) -> None:
    """Exactly the inventory goes; what somebody else put beside it stays."""
    await live(project)
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "by-hand", "namespace": project.target}}
    plane.apply(other, "somebody")
    found = plane.get("Kustomization", project.owner.namespace, ENVIRONMENT)
    assert found is not None
    assert inventory.entries(found) == [inventory.Entry(project.target, "ConfigMap", "web")]
    await gone(project, "kustomization", ENVIRONMENT, prune=True)
    assert project.live() is None
    assert plane.get("ConfigMap", project.target, "by-hand") is not None


async def test_access_goes_last(plane: Plane, project: Project) -> None:
    """Binding, account and Secret are removed, by an account that can read neither; twice is fine."""
    await live(project)
    await project.cluster.apply(manifests.credentials(project.owner, {"username": "git", "password": "geheim"}))
    await gone(project, "kustomization", ENVIRONMENT)
    held = ProjectRow(id=project.owner.project, namespace=project.owner.namespace)
    for _ in range(2):
        await dismantling.remove_access(project.cluster, held, [(ENVIRONMENT, project.target)])
    account = manifests.account_name(ENVIRONMENT)
    assert plane.get("RoleBinding", project.target, account) is None
    assert plane.get("ServiceAccount", project.owner.namespace, account) is None
    assert plane.get("Secret", project.owner.namespace, manifests.CREDENTIALS) is None
    assert project.live() == "first"


async def test_somebody_elses_object_is_left_alone(plane: Plane, project: Project) -> None:
    """An object of that name that is not labelled as the project's counts as gone."""
    await project.enable()
    other = row(project, "kustomization", ENVIRONMENT)
    other.project_id = UUID(int=7)
    assert await dismantling.is_gone(project.cluster, other)
    assert plane.get("Kustomization", project.owner.namespace, ENVIRONMENT) is not None


async def test_a_kind_that_is_gone(sandbox: SandboxPlane) -> None:
    """When Flux itself was removed there is nothing left to take out; a refusal stays one."""
    cluster = sandbox.open()
    missing = GitopsResource(type="kustomization", name="x", namespace="default", project_id=UUID(int=7))
    sandbox.cluster.forbid("get", "kustomizations")
    with pytest.raises(UserError, match="forbidden"):
        await dismantling.is_gone(cluster, missing)
    sandbox.cluster.permit()
    sandbox.cluster.delete("CustomResourceDefinition", "", DEFINITION)
    assert await dismantling.is_gone(cluster, missing)
    await cluster.close()
