"""Flux's objects, and all that they need: one call that ends when everything is read back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bot import objects
from bot.core import manifests
from bot.core.errors import UserError
from bot.core.manifests import Git, Manifest
from bot.enabling import cluster
from bot.enabling.setup import Setup
from bot.store.deployments import Place
from bot.targets import source_of


@dataclass
class Made:
    """What there is in the clusters now, by name, and what could not be made."""

    namespaces: list[str] = field(default_factory=list)
    git_repositories: list[str] = field(default_factory=list)
    kustomizations: list[str] = field(default_factory=list)
    errors: list[UserError] = field(default_factory=list)
    _written: set[tuple[str, str, str]] = field(default_factory=set)

    def note(self, cluster: str, manifest: Manifest) -> None:
        """One object was written and read back."""
        self._written.add(_key(cluster, manifest))
        lists = {
            "Namespace": self.namespaces,
            "GitRepository": self.git_repositories,
            "Kustomization": self.kustomizations,
        }
        if manifest["kind"] in lists:
            lists[manifest["kind"]].append(_name(manifest))

    def has(self, cluster: str, manifest: Manifest) -> bool:
        """Environments share a namespace and their branches' sources: those are written once."""
        return _key(cluster, manifest) in self._written


def _key(cluster: str, manifest: Manifest) -> tuple[str, str, str]:
    return cluster, manifest["kind"], _name(manifest)


def _name(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


async def setup_gitops(setup: Setup) -> dict[str, Any]:
    """The objects of every environment; one that cannot be made does not keep the others from being made."""
    made = await make(setup)
    if made.errors:
        texts = dict.fromkeys(error.message for error in made.errors)
        raise UserError(made.errors[0].code, "; ".join(texts))
    count = f"{len(made.git_repositories)} GitRepository, {len(made.kustomizations)} Kustomizations"
    return {
        "said": count if len(made.kustomizations) > 1 else count.rstrip("s"),
        "namespaces": made.namespaces,
        "git_repositories": made.git_repositories,
        "kustomizations": made.kustomizations,
    }


async def make(setup: Setup) -> Made:
    """Write every object and have it read back; what there is then."""
    made, places = Made(), await setup.places()
    for where in places:
        try:
            await _environment(setup, where, made)
        except UserError as error:
            made.errors.append(error)
    return made


async def _environment(setup: Setup, where: Place, made: Made) -> None:
    name = where.environment.cluster
    for namespace in (setup.project.namespace, where.environment.target_namespace):
        await cluster.own_namespace(setup, name, namespace)
    async with setup.ctx.store.read() as session:
        source = await source_of(session, where)
        git = await setup.ctx.credentials.git(session, where.repository, where.project)
    for manifest in _manifests(where, git, source.name):
        if not made.has(name, manifest):
            await cluster.write(setup.ctx.cluster(name), manifest)
            made.note(name, manifest)


def _manifests(where: Place, git: Git, source: str) -> Iterator[Manifest]:
    """In the order in which they need each other."""
    environment, project = where.environment, where.project
    ours, theirs = objects.owner(project), objects.owner(project, environment)
    yield manifests.namespace(ours, project.namespace)
    yield manifests.branch_source(ours, git, environment.branch)
    yield manifests.namespace(theirs, environment.target_namespace)
    if environment.config.get("service_account") == manifests.account_name(environment.name):
        yield manifests.service_account(theirs, environment.name)
        yield manifests.role_binding(theirs, environment.name, environment.target_namespace)
    yield objects.kustomization(where, source)
