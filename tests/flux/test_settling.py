"""Deployments settle by what Flux really says: the sandbox's and the real kustomize-controller, the same tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from bot.core import manifests
from bot.core.manifests import Git, Owner, Rollout
from bot.core.settling import (
    Facts,
    Fail,
    NeedRelation,
    Relation,
    RequestKustomization,
    RequestSource,
    Step,
    Succeed,
    Supersede,
    SwitchSource,
    Wait,
    settle,
)
from bot.flux.cluster import KubernetesCluster
from bot.sandbox.flux import SandboxFlux
from bot.sandbox.git import GitStore
from tests.flux.git_server import GitServer
from tests.flux.planes import Plane, SandboxPlane, eventually

REPO, PATH, ENVIRONMENT = "acme/web", "deploy/dev", "dev"
FILE = f"{PATH}/web.yaml"


def config_map(value: str) -> bytes:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{value: {value}}}\n".encode()


CLUSTER_ROLE = (
    b"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: sluice-settling}\nrules: []\n"
)


class Project:
    """One environment that follows main, and the little shell that carries its deployments out."""

    def __init__(self, plane: Plane, cluster: KubernetesCluster, git: GitStore, url: str) -> None:
        self.plane, self.cluster, self.git = plane, cluster, git
        project = uuid4()
        self.owner = Owner(project=project, namespace=manifests.project_namespace(project), environment=uuid4())
        self.repository = Git(url=f"{url}/{REPO}.git", secret=None)
        self.target = manifests.target_namespace(self.owner.namespace, ENVIRONMENT)
        self.number = 0

    def rollout(self, source: str, path: str = PATH) -> dict[str, object]:
        return manifests.kustomization(
            self.owner,
            Rollout(environment=ENVIRONMENT, path=path, source=source, target=self.target, retry_interval="2s"),
        )

    async def enable(self, path: str = PATH) -> None:
        owner = self.owner
        for manifest in (
            manifests.namespace(owner, owner.namespace),
            manifests.namespace(owner, self.target),
            manifests.service_account(owner, ENVIRONMENT),
            manifests.role_binding(owner, ENVIRONMENT, self.target),
            manifests.branch_source(owner, self.repository, "main"),
            self.rollout("branch-main", path),
        ):
            await self.cluster.apply(manifest)

    def push(self, content: bytes | None, path: str = FILE) -> str:
        return self.git.commit(REPO, "main", {path: content}, "change", "alice")

    async def pin(self, commit: str) -> int:
        self.number += 1
        await self.cluster.apply(
            manifests.own_source(
                self.owner, self.repository, ENVIRONMENT, branch="main", commit=commit, number=self.number
            )
        )
        return self.number

    async def facts(self, revision: str, pinned: bool) -> Facts:
        name = "pin-dev" if pinned else "branch-main"
        now = datetime.now(UTC)
        return Facts(
            revision=revision,
            source_name=name,
            pinned=pinned,
            number=self.number,
            source=await self.cluster.get("GitRepository", self.owner.namespace, name),
            kustomization=await self.cluster.get("Kustomization", self.owner.namespace, ENVIRONMENT),
            started=now,
            deadline=now + timedelta(seconds=50),
            now=now,
        )

    def relation(self, revision: str, other: str) -> Relation:
        if self.git.is_ancestor(REPO, other, revision):
            return Relation.OLDER
        if not self.git.is_ancestor(REPO, revision, other):
            return Relation.APART
        one, two = (
            {path: data for path, data in self.git.files(REPO, sha).items() if path.startswith(PATH)}
            for sha in (revision, other)
        )
        return Relation.CONTAINS if one == two else Relation.CHANGED

    async def deploy(self, revision: str, *, pinned: bool = False) -> tuple[Step, list[Step]]:
        """Until it ends; with all steps on the way."""
        stored = await self.facts(revision, pinned)
        steps: list[Step] = []
        while True:
            fresh = await self.facts(revision, pinned)
            kept = {
                field: getattr(stored, field)
                for field in ("source_token", "kustomization_token", "failure_seen", "relations", "started", "deadline")
            }
            stored = msgspec.structs.replace(fresh, **kept)
            step = settle(stored)
            if not steps or steps[-1] != step:
                steps.append(step)
            if not isinstance(step, RequestSource | RequestKustomization | SwitchSource | NeedRelation | Wait):
                return step, steps
            stored = await self.carry_out(step, stored)

    async def carry_out(self, step: Step, stored: Facts) -> Facts:
        namespace, name = self.owner.namespace, stored.source_name
        match step:
            case RequestSource(token, failure_seen):
                await self.cluster.request_reconcile("GitRepository", namespace, name, token)
                return msgspec.structs.replace(
                    stored, source_token=token, failure_seen=failure_seen or stored.failure_seen
                )
            case RequestKustomization(token):
                await self.cluster.request_reconcile("Kustomization", namespace, ENVIRONMENT, token)
                return msgspec.structs.replace(stored, kustomization_token=token)
            case SwitchSource():
                await self.cluster.apply(self.rollout(name))
            case NeedRelation(commit):
                relation = self.relation(stored.revision, commit)
                return msgspec.structs.replace(stored, relations={**stored.relations, commit: relation})
            case Wait():
                await asyncio.sleep(0.03)
                return msgspec.structs.replace(stored, failure_seen=step.failure_seen or stored.failure_seen)
        return stored

    def live(self) -> str | None:
        found = self.plane.get("ConfigMap", self.target, "web")
        return None if found is None else str(found["data"]["value"])


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitStore]:
    store = GitStore(tmp_path)
    store.create(REPO)
    store.commit(REPO, "main", {FILE: config_map("first"), "README.md": b"# Web\n"}, "first", "alice")
    yield store
    store.close()


@pytest_asyncio.fixture
async def project(plane: Plane, cluster: KubernetesCluster, git: GitStore, tmp_path: Path) -> AsyncIterator[Project]:
    if isinstance(plane, SandboxPlane):
        with SandboxFlux(plane.cluster, git.fetch):
            yield Project(plane, cluster, git, "http://git.example")
        return
    server = GitServer(tmp_path)
    server.start()
    yield Project(plane, cluster, git, server.url)
    server.stop()


def failures(steps: list[Step]) -> list[Step]:
    return [step for step in steps if isinstance(step, Fail) or (isinstance(step, Wait) and step.failing)]


async def test_a_push_goes_live(project: Project) -> None:
    await project.enable()
    first = project.git.head(REPO, "main")
    assert first is not None
    assert (await project.deploy(first))[0] == Succeed(None, True)
    end, steps = await project.deploy(project.push(config_map("second")))
    assert end == Succeed(None, True)
    assert not failures(steps)
    assert project.live() == "second"


async def test_a_wrong_path(project: Project) -> None:
    await project.enable("deploy/nowhere")
    end, _ = await project.deploy(project.push(config_map("second")))
    assert isinstance(end, Fail)
    assert end.code == "path_not_found"
    assert end.message == "kustomization path not found: stat deploy/nowhere: no such file or directory"


async def test_a_path_that_went_away_and_came_back(project: Project) -> None:
    """The last failure is not the next deployment's."""
    await project.enable()
    assert (await project.deploy(project.push(config_map("second"))))[0] == Succeed(None, True)
    end, _ = await project.deploy(project.push(None))
    assert isinstance(end, Fail)
    assert end.code == "path_not_found"
    end, steps = await project.deploy(project.push(config_map("third")))
    assert end == Succeed(None, True)
    assert not failures(steps)


async def test_a_build_error_and_its_fix_without_a_red_flash(project: Project) -> None:
    await project.enable()
    bad = project.push(b"resources: [nothing.yaml]\n", f"{PATH}/kustomization.yaml")
    end, _ = await project.deploy(bad)
    assert isinstance(end, Fail)
    assert end.code == "build_failed"
    assert "/tmp/" not in end.message
    end, steps = await project.deploy(project.push(None, f"{PATH}/kustomization.yaml"))
    assert end == Succeed(None, True)
    assert not failures(steps)


async def test_what_the_account_may_not_write_fails_at_the_second_time(project: Project) -> None:
    await project.enable()
    end, steps = await project.deploy(project.push(CLUSTER_ROLE, f"{PATH}/role.yaml"))
    assert isinstance(end, Fail)
    assert end.code == "apply_failed"
    assert "orbidden" in end.message
    shown = failures(steps)
    assert isinstance(shown[0], Wait)
    assert shown[0].text == f"failing, Flux retries: {end.message}"


async def test_suspended(project: Project) -> None:
    await project.enable()
    project.plane.patch("Kustomization", project.owner.namespace, ENVIRONMENT, {"spec": {"suspend": True}})
    end, _ = await project.deploy(project.push(config_map("second")))
    assert isinstance(end, Fail)
    assert end.code == "suspended"


async def test_a_branch_that_is_gone(project: Project) -> None:
    await project.enable()
    first = project.git.head(REPO, "main")
    assert first is not None
    await project.deploy(first)
    project.git.commit(REPO, "other", {"a": b"a"}, "other", "alice", first)
    second = project.push(config_map("second"))
    project.git.delete_ref(REPO, "main")
    end, _ = await project.deploy(second)
    assert isinstance(end, Fail)
    assert end.code == "source_failed"
    assert "refs/heads/main" in end.message


async def test_of_two_quick_pushes_one_is_superseded(project: Project) -> None:
    await project.enable()
    first, second = project.push(config_map("second")), project.push(config_map("third"))
    (one, _), (two, _) = await asyncio.gather(project.deploy(first), project.deploy(second))
    assert one == Supersede(second)
    assert two == Succeed(None, True)


async def test_a_push_that_is_live_as_part_of_a_later_one(project: Project) -> None:
    await project.enable()
    first, second = project.push(config_map("second")), project.push(b"# More\n", "README.md")
    (one, _), (two, _) = await asyncio.gather(project.deploy(first), project.deploy(second))
    assert one == Succeed(second, True)
    assert two == Succeed(None, True)


async def test_pinned_moved_and_back_without_a_failure(project: Project) -> None:
    """From the shared source to a pin, to an older commit, and back to the branch."""
    await project.enable()
    first = project.push(config_map("first"), FILE) if project.push(config_map("zero")) else ""
    second = project.push(config_map("second"))
    steps: list[Step] = []
    for revision, pinned, value in (
        (second, False, "second"),
        (second, True, "second"),
        (first, True, "first"),
        (second, False, "second"),
    ):
        if pinned:
            await project.pin(revision)
        end, more = await project.deploy(revision, pinned=pinned)
        steps += more
        assert end == Succeed(None, True)
        await eventually(lambda value=value: project.live() == value)
    assert not failures(steps)
    assert [type(step) for step in steps].count(SwitchSource) == 2


async def test_a_pin_that_another_moved(project: Project) -> None:
    await project.enable()
    first, second = project.push(config_map("one")), project.push(config_map("two"))
    old = await project.pin(first)
    assert (await project.deploy(first, pinned=True))[0] == Succeed(None, True)
    await project.pin(second)
    project.number = old
    assert (await project.deploy(first, pinned=True))[0] == Supersede(second)

    patch = {"spec": {"ref": {"commit": first}}}
    project.number += 1
    project.plane.patch("GitRepository", project.owner.namespace, "pin-dev", patch)
    end, _ = await project.deploy(second, pinned=True)
    assert isinstance(end, Fail)
    assert end.code == "gate_broken"
