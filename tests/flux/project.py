"""An environment on a plane, and the little shell that carries its deployments out."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec

from bot.core import manifests
from bot.core.manifests import Git, Owner, Rollout
from bot.core.settling import (
    Facts,
    NeedRelation,
    Relation,
    RequestKustomization,
    RequestSource,
    Step,
    SwitchSource,
    Wait,
    settle,
)
from bot.flux.cluster import KubernetesCluster
from bot.sandbox.git import GitStore
from tests.flux.planes import Plane

REPO, PATH, ENVIRONMENT = "acme/web", "deploy/dev", "dev"
FILE = f"{PATH}/web.yaml"


def config_map(value: str) -> bytes:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{value: {value}}}\n".encode()


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
