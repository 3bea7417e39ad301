"""Flux's objects, and all that they need: one call that ends when everything is read back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bot import charts, objects
from bot.core import initialization, manifests
from bot.core.conversation import code
from bot.core.errors import FieldConflict, UserError
from bot.core.manifests import Manifest
from bot.core.ports import Written
from bot.enabling import cluster
from bot.enabling.setup import Setup
from bot.store import log, projects
from bot.store.deployments import Place
from bot.targets import source_of

# What is told of, and under which word it is noted.
LISTS = {
    "Namespace": "namespaces",
    "GitRepository": "git_repositories",
    "HelmRepository": "helm_repositories",
    "OCIRepository": "oci_repositories",
    "Kustomization": "kustomizations",
    "HelmRelease": "helm_releases",
}


@dataclass
class Made:
    """What there is in the clusters now, by name, and what could not be made."""

    names: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in LISTS})
    adopted: list[str] = field(default_factory=list)  # what others keep: nothing is written there
    taken: list[str] = field(default_factory=list)  # fields that others owned
    errors: list[UserError] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)  # by cluster, kind and name: as it was written

    def note(self, cluster: str, manifest: Manifest, version: str) -> None:
        """One object was written and read back."""
        self.versions[_key(cluster, manifest)] = version
        if manifest["kind"] in self.names:
            self.names[manifest["kind"]].append(_name(manifest))

    def has(self, cluster: str, manifest: Manifest) -> bool:
        """Environments share a namespace and their branches' sources: those are written once."""
        return _key(cluster, manifest) in self.versions


def _key(cluster: str, manifest: Manifest) -> str:
    return initialization.written_key(cluster, manifest["kind"], _name(manifest))


def _name(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


async def setup_gitops(setup: Setup) -> dict[str, Any]:
    """The objects of every environment; one that cannot be made does not keep the others from being made."""
    made = await make(setup)
    if made.errors:
        texts = dict.fromkeys(error.message for error in made.errors)
        raise UserError(made.errors[0].code, "; ".join(texts))
    return {"said": _counted(made), "adopted": made.adopted, initialization.WRITTEN: made.versions, **_listed(made)}


def _listed(made: Made) -> dict[str, list[str]]:
    return {word: made.names[kind] for kind, word in LISTS.items()}


def _counted(made: Made) -> str:
    """How many there are of each of Flux's kinds."""
    found = [(len(names), kind) for kind, names in made.names.items() if names and kind != "Namespace"]
    parts = [f"{count} {kind}" + ("s" if count > 1 else "") for count, kind in found]
    taken = [f"took over {', '.join(code(each) for each in made.taken)}"] if made.taken else []
    return ", ".join([*parts, *([f"{len(made.adopted)} adopted"] if made.adopted else []), *taken])


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
    if projects.is_adopted(where.environment):
        made.adopted.append(where.environment.config["adopt"])
        return
    await cluster.own_namespace(setup, name, setup.project.namespace)
    guest = await cluster.is_guest(setup, where)
    for manifest in await _wanted(setup, where):
        if guest and manifest == _target(where):
            continue  # it is there, and others' to keep
        if not made.has(name, manifest):
            written = await _write(setup, name, manifest, made)
            made.note(name, manifest, written.resource_version)


async def _write(setup: Setup, name: str, manifest: Manifest, made: Made) -> Written:
    """One object; fields that others own are forced where the admin said so, once it is noted which these are."""
    port = setup.ctx.cluster(name)
    try:
        return await cluster.write(port, manifest)
    except FieldConflict:
        if not setup.take_over:
            raise
    found = await cluster.existing(port, manifest)
    try:
        return await cluster.write(port, manifest, over=found)
    except FieldConflict as conflict:  # of exactly this version, which is the one that is forced
        if found is None:
            raise
        await _note_taken(setup, manifest, conflict.fields)
        made.taken += [f"{field} in {_name(manifest)}" for field in conflict.fields]
        return await cluster.write(port, manifest, over=found, force=True)


async def _note_taken(setup: Setup, manifest: Manifest, fields: Sequence[str]) -> None:
    named = [f"{manifest['kind']} {_name(manifest)}: {field}" for field in fields]
    async with setup.ctx.store.write() as tx:
        resource = ("project", setup.project.id)
        log.fields_taken(tx.session, setup.project, named, actor=setup.ctx.run.actor, resource=resource)


async def _wanted(setup: Setup, where: Place) -> list[Manifest]:
    """All that an environment needs, in the order in which it is needed."""
    async with setup.ctx.store.read() as session:
        source = await source_of(session, where)
        pin = await projects.live_pin(session, where.environment.id)
        git = await setup.ctx.credentials.git(session, where.repository, where.project)
    if not projects.is_elsewhere(where.environment):
        shared = manifests.branch_source(objects.owner(where.project), git, where.environment.branch)
        goes_by = [shared] if where.rules.follows or source.environment_id is None else []
        return [*_around(where, *goes_by), objects.applier(where, source.name)]
    if pin is None:  # its first deployment writes the release: the values are a commit's
        return _around(where, objects.elsewhere(where, {}, 0)[0])
    written = await charts.values_at(setup.ctx.forge, where, pin.commit_hash)
    chart, release = objects.elsewhere(where, written, pin.number)
    return [*_around(where, chart), release]


def _around(where: Place, *sources: Manifest) -> list[Manifest]:
    """The namespaces, the sources, and the account with its rights."""
    environment, project = where.environment, where.project
    ours, theirs = objects.owner(project), objects.owner(project, environment)
    found = [
        manifests.namespace(ours, project.namespace),
        *sources,
        _target(where),
    ]
    if environment.config.get("service_account") == manifests.account_name(environment.name):
        found.append(manifests.service_account(theirs, environment.name))
        found.append(manifests.role_binding(theirs, environment.name, environment.target_namespace))
    return found


def _target(where: Place) -> Manifest:
    """The namespace of the workloads."""
    environment = where.environment
    return manifests.namespace(objects.owner(where.project, environment), environment.target_namespace)
