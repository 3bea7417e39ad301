"""A chart from elsewhere in the cluster: its source, and the HelmRelease with the values of one commit."""

from typing import Any

from bot import objects, pinning
from bot.core import values
from bot.core.errors import UserError
from bot.core.ports import Cluster, Forge
from bot.store import gates
from bot.store.deployments import Place


def behind(found: dict[str, Any] | None, number: int) -> bool:
    """Whether the release is yet to be written for a deployment; what is suspended is left alone."""
    return found is None or (gates.number_of(found) < number and not found["spec"].get("suspend"))


async def write(
    cluster: Cluster,
    forge: Forge,
    where: Place,
    found: dict[str, Any] | None,
    *,
    commit: str,
    number: int,
    take_over: bool = False,
) -> None:
    """Write the version and the values of a commit, fenced by what was seen; the number says whose they are."""
    source, release = objects.elsewhere(where, await values_at(forge, where, commit), number)
    await cluster.apply(source)
    await pinning.apply_over(cluster, release, found, take_over=take_over)


async def values_at(forge: Forge, where: Place, commit: str) -> values.Values:
    """What the environment's files of values say at a commit."""
    name = where.repository.full_name
    tree = await forge.tree(name, commit)
    files = []
    for path in where.environment.config["helm"].get("values", ()):
        entry = tree.entries.get(path)
        if entry is None or entry.kind != "blob":
            raise UserError("path_not_found", f"the file of values `{path}` does not exist at {commit[:7]}")
        files.append((path, await forge.blob(name, entry.oid)))
    return values.merged(files)
