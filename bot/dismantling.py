"""Takes a project's objects out of a cluster, one step at a time, so that it may be cut short and begun again."""

from typing import Any

from bot.core import manifests, settling_helm
from bot.core.errors import StaleObject, TemporaryError, UserError
from bot.core.manifests import PROJECT_LABEL
from bot.core.ports import Cluster
from bot.objects import KIND_OF
from models import GitopsResource, Project

Object = dict[str, Any]


async def find(cluster: Cluster, kind: str, namespace: str, name: str) -> Object | None:
    """An object as it is now; None also where the cluster does not know the kind any more."""
    try:
        return await cluster.get(kind, namespace, name)
    except UserError:
        if await cluster.has_kind(kind):
            raise
        return None


async def is_gone(cluster: Cluster, row: GitopsResource, *, prune: bool = False) -> bool:
    """Have an object of Flux's go, keeping what it applied unless it is to be pruned; whether it is gone."""
    kind = KIND_OF[row.type]
    try:
        found = await _ours(cluster, kind, row)
        if found is None:
            return True
        if not found["metadata"].get("deletionTimestamp"):
            await _prepare(cluster, kind, found, prune=prune)
            await _remove_chart(cluster, found, prune=prune)
            await cluster.delete(kind, row.namespace, row.name, uid=found["metadata"]["uid"])
            found = await _ours(cluster, kind, row)
    except StaleObject as error:
        raise TemporaryError(str(error), delay=0.1) from error
    return found is None


async def _ours(cluster: Cluster, kind: str, row: GitopsResource) -> Object | None:
    """The object, if it is this project's: one that somebody else made under its name is left alone."""
    found = await find(cluster, kind, row.namespace, row.name)
    return found if found is not None and belongs(found, row.project_id) else None


def belongs(found: Object, project_id: object) -> bool:
    """Whether an object is labelled as a project's."""
    return (found["metadata"].get("labels") or {}).get(PROJECT_LABEL) == str(project_id)


async def _prepare(cluster: Cluster, kind: str, found: Object, *, prune: bool) -> None:
    """Say what is to become of what it applied, and read back that it is said."""
    if kind == "Kustomization":
        await _say(cluster, found, {"deletionPolicy": "Delete" if prune else "Orphan"}, {"prune": prune})
    elif kind == "HelmRelease":
        await _say(cluster, found, {"suspend": not prune})


async def _remove_chart(cluster: Cluster, found: Object, *, prune: bool) -> None:
    """Flux leaves the HelmChart of a release behind that is suspended when it is deleted."""
    place = settling_helm.chart_place(found) if found["kind"] == "HelmRelease" and not prune else None
    if place is not None and place[0] == found["metadata"]["namespace"]:
        await cluster.delete("HelmChart", *place)


async def _say(cluster: Cluster, found: Object, *wishes: dict[str, Any]) -> None:
    """The first of the wishes that the kind has a field for; an older definition may only have a later one's."""
    metadata, kind = found["metadata"], found["kind"]
    for wish in wishes:
        try:
            await cluster.claim(kind, metadata["namespace"], metadata["name"], wish, uid=metadata["uid"])
        except UserError as error:
            if error.code != "field_unknown" or wish is wishes[-1]:
                raise
            continue
        kept = await cluster.get(kind, metadata["namespace"], metadata["name"])
        if kept is None or any(kept["spec"].get(field) != value for field, value in wish.items()):
            fields = ", ".join(f"spec.{field}" for field in wish)
            raise UserError("not_kept", f"the cluster did not keep {fields} of {kind} {metadata['name']}")
        return


async def remove_access(cluster: Cluster, project: Project, environments: list[tuple[str, str]]) -> None:
    """Take out bindings, accounts and the Secret: (environment, target namespace). Nothing of Flux's needs them now."""
    for environment, target in environments:
        account = manifests.account_name(environment)
        binding = await cluster.get("RoleBinding", target, account)
        if binding is not None and belongs(binding, project.id):
            await cluster.delete("RoleBinding", target, account, uid=binding["metadata"]["uid"])
        await cluster.delete("ServiceAccount", project.namespace, account)
    await cluster.delete("Secret", project.namespace, manifests.CREDENTIALS)
