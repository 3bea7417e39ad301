"""What a commit would take out of an environment: read from the forge, and from Flux what it has there."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import inventory
from bot.core.deployments import UNSETTLED, Phase, commit_of, short
from bot.core.errors import BotError, UserError
from bot.core.inventory import Entry
from bot.core.manifests import kustomization_name
from bot.core.ports import Cluster, Forge
from bot.core.prunes import Building, Comparing, Naming, Parts, Pruned, keeps
from bot.store import deployments, projects
from bot.store.deployments import Place
from models import Environment, GitopsResource

CHART = "what a Helm chart makes is not known before"


async def applied(session: AsyncSession, environment: Environment) -> frozenset[str]:
    """The commits of which something may be in the cluster: what Flux applied, tried, or is on its way to."""
    if environment.gitops_resource_id is None or projects.is_adopted(environment):
        return frozenset()
    applier = await session.get_one(GitopsResource, environment.gitops_resource_id, populate_existing=True)
    newest = await deployments.newest(session, environment.id, without=deployments.NOT_LET_THROUGH)
    under_way = await deployments.unsettled(session, environment.id)
    found = {
        commit_of(applier.last_applied_revision),
        commit_of(applier.last_attempted_revision),
        newest.commit_hash if newest else None,
        *(row.commit_hash for row in under_way if row.status in UNSETTLED and row.status != Phase.WAITING),
    }
    return frozenset(commit for commit in found if commit is not None)


async def look(
    forge: Forge, cluster: Cluster | None, where: Place, before: Collection[str], commit: str
) -> Pruned | None:
    """What goes with a commit that was there before it; None: nothing was."""
    if not before:
        return None
    if "helm" in where.environment.config:
        return Pruned(unseen=(CHART,))
    old = [await _built_once(forge, where, each) for each in sorted(before)]
    comparing = Comparing(old, await _built(forge, where, commit))
    while comparing.wanted:
        for oid in sorted(comparing.wanted):
            comparing.feed(oid, await forge.blob(where.repository.full_name, oid))
    found = comparing.result(None)
    return comparing.result(await _inventory(cluster, where)) if found.names else found


async def _built_once(forge: Forge, where: Place, commit: str) -> Parts:
    """What an older commit built; the forge may have it no more."""
    try:
        return await _built(forge, where, commit)
    except UserError as error:
        return Parts(unseen=frozenset({f"{short(commit)} cannot be read any more: {error.message}"}))


async def _built(forge: Forge, where: Place, commit: str) -> Parts:
    name, extra = where.repository.full_name, where.environment.config.get("kustomization", {})
    tree = await forge.tree(name, commit)
    naming = Naming(
        prefix=extra.get("namePrefix", ""),
        suffix=extra.get("nameSuffix", ""),
        namespace=where.environment.target_namespace or "",
        kept=keeps(extra.get("commonMetadata", {}).get("annotations")),
    )
    building = Building(tree, where.environment.path, naming, extra.get("components", ()))
    while building.wanted:
        for path in sorted(building.wanted):
            building.feed(path, await forge.blob(name, tree.entries[path].oid))
    return building.result


async def _inventory(cluster: Cluster | None, where: Place) -> list[Entry] | None:
    """What Flux has applied; None: it cannot be asked, so everything that the files had counts."""
    if cluster is None:
        return None
    try:
        found = await cluster.get("Kustomization", where.project.namespace, kustomization_name(where.environment.name))
    except BotError:
        return None
    return None if found is None else inventory.entries(found)
