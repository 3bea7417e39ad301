"""Writes objects into a cluster and has each read back."""

from bot.core import manifests
from bot.core.errors import UserError
from bot.core.manifests import Manifest
from bot.core.ports import Cluster
from bot.enabling.setup import Setup

_UNKNOWN_FIELD = "field not declared in schema"  # the API server's words


async def own_namespace(setup: Setup, cluster: str, name: str) -> None:
    """A namespace that exists without the project's label is somebody else's."""
    found = await setup.ctx.cluster(cluster).get("Namespace", None, name)
    if found is None:
        return
    if (found["metadata"].get("labels") or {}).get(manifests.PROJECT_LABEL) != str(setup.project.id):
        raise UserError("namespace_taken", f"the namespace `{name}` exists and is not this project's")


async def write(cluster: Cluster, manifest: Manifest) -> None:
    """Write one object; every field of its spec must be there afterwards."""
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        written = await cluster.apply(manifest)
    except UserError as error:
        if error.code == "cluster_refused" and _UNKNOWN_FIELD in error.message:
            raise UserError("not_kept", f"the cluster does not know a field of {what}: {error.message}") from None
        raise
    for field, value in manifest.get("spec", {}).items():
        if written.object.get("spec", {}).get(field) != value:
            raise UserError("not_kept", f"the cluster did not keep `spec.{field}` of {what}: is its CRD older?")
