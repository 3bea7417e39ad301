"""A pin in the cluster: the environment's own GitRepository says what the row says."""

from typing import Any

from bot import objects
from bot.core import manifests
from bot.core.deployments import short
from bot.core.errors import TemporaryError, UserError
from bot.core.manifests import Git, Manifest
from bot.core.ports import Cluster, Forge
from bot.credentials import Credentials
from bot.store import deployments, gates, pins, projects
from bot.store.deployments import Place, keep_branch
from bot.store.transactions import Store
from models import GitopsResource, Pin


def behind(found: dict[str, Any] | None, pin: Pin) -> bool:
    """Whether the object is yet to be moved to the pin; one that a newer deployment moved is left alone."""
    if found is None:
        return True
    number = gates.number_of(found)
    if number != pin.number:
        return number < pin.number
    ref = found["spec"].get("ref") or {}
    # Another commit under our number was put there by another hand: that is told, not written over (bot/observing.py).
    return ref.get("commit") == pin.commit_hash and ref.get("branch") != pin.branch


async def apply_over(
    cluster: Cluster, wanted: Manifest, found: dict[str, Any] | None, *, take_over: bool = False
) -> None:
    """Apply over the object as it was seen; if it changed since, the server refuses."""
    if found is None:
        await cluster.apply(wanted)
        return
    metadata = found["metadata"]
    await cluster.apply(wanted, uid=metadata["uid"], resource_version=metadata["resourceVersion"], force=take_over)


async def write(
    cluster: Cluster, where: Place, pin: Pin, found: dict[str, Any] | None, git: Git, *, take_over: bool = False
) -> None:
    """Write the pin, fenced by what was seen; with `take_over` also the fields that another hand took for its own."""
    wanted = manifests.own_source(
        objects.owner(where.project, where.environment),
        git,
        where.environment.name,
        branch=pin.branch,
        commit=pin.commit_hash,
        number=pin.number,
    )
    await apply_over(cluster, wanted, found, take_over=take_over)


async def reach(forge: Forge, where: Place, commit: str, *others: str) -> str:
    """The branch by which Flux can fetch a commit: the environment's, one of the others, or else one of our own."""
    name = where.repository.full_name
    pins.refuse_adopted(where)
    if projects.is_elsewhere(where.environment):
        return where.environment.branch  # Flux fetches nothing of this repository: Sluice reads the values
    for branch in (where.environment.branch, *others):
        head = await forge.branch_head(name, branch)
        if head is not None and await forge.is_ancestor(name, commit, head):
            return branch
    kept = keep_branch(where)
    try:
        await forge.set_branch(name, kept, commit)
    except UserError as error:
        text = f"no branch leads to {short(commit)}, and Sluice may not make `{kept}`: {error.message}"
        raise UserError("ref_unreachable", text) from error
    return kept


async def keep_reachable(store: Store, forge: Forge, cluster: Cluster, pin: Pin, credentials: Credentials) -> bool:
    """Give a pinned commit a branch of our own if the pin's branch does not lead to it any more."""
    async with store.read() as session:
        where = await deployments.place(session, pin.environment_id)
        source = await session.get_one(GitopsResource, pin.source_id)
        git = await credentials.git(session, where.repository, where.project)
    if projects.is_elsewhere(where.environment):
        return False  # its values are in the cluster already, and Flux fetches nothing of this repository
    name = where.repository.full_name
    head = await forge.branch_head(name, pin.branch)
    if head is not None and await forge.is_ancestor(name, pin.commit_hash, head):
        return False
    await forge.set_branch(name, keep_branch(where), pin.commit_hash)
    async with store.write() as tx:
        row = await projects.live_pin(tx.session, pin.environment_id)
        still = row is not None and row.id == pin.id and row.number == pin.number
        if row is not None and still:
            row.branch = keep_branch(where)
    if row is None:
        await forge.delete_branch(name, keep_branch(where))  # unpinned meanwhile: nobody else would
    if row is None or not still:
        raise TemporaryError("the pin was moved meanwhile", delay=0.1)
    found = await cluster.get("GitRepository", source.namespace, source.name)
    if behind(found, row):
        await write(cluster, where, row, found, git)
    return True
