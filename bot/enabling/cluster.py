"""Writes objects into a cluster and has each read back."""

from collections.abc import Mapping
from typing import Any

from bot.core import manifests
from bot.core.errors import StaleObject, TemporaryError, UserError
from bot.core.manifests import Manifest
from bot.core.ports import Cluster, Written
from bot.enabling.setup import Setup
from bot.store import projects
from bot.store.deployments import Place


async def own_namespace(setup: Setup, cluster: str, name: str) -> None:
    """A namespace that exists without the project's label is somebody else's."""
    found = await setup.ctx.cluster(cluster).get("Namespace", None, name)
    if found is not None and not await _is_ours(setup, found):
        raise _taken(name)


async def is_guest(setup: Setup, where: Place) -> bool:
    """Whether an environment's workloads go to a namespace that others made, and keep: the operator lets it in there.

    The operator's policy names it, and the label on it lets Sluice's binding pass the admission policy.
    """
    environment = where.environment
    name = environment.target_namespace
    found = await setup.ctx.cluster(environment.cluster).get("Namespace", None, name)
    if found is None or await _is_ours(setup, found):
        return False
    labels = found["metadata"].get("labels") or {}
    named = name != manifests.target_namespace(setup.project.namespace, environment.name)
    if not named or manifests.PROJECT_LABEL in labels:
        raise _taken(name)
    bound = environment.config.get("service_account") == manifests.account_name(environment.name)
    if bound and not _lets_in(labels):
        raise UserError(
            "namespace_unlabelled",
            f"the namespace `{name}` exists, and the operator has not let Sluice in: "
            f"`kubectl label namespace {name} {manifests.TARGET_LABEL}=true`",
        )
    return True


def _lets_in(labels: Mapping[str, str]) -> bool:
    """What the admission policy asks of a namespace in which Sluice binds an account."""
    managed = labels.get(manifests.MANAGED_BY_LABEL) == manifests.MANAGED_BY
    return managed or labels.get(manifests.TARGET_LABEL) == "true"


async def _is_ours(setup: Setup, found: dict[str, Any]) -> bool:
    """This project's, or left by one of the same repository that was disabled."""
    label = (found["metadata"].get("labels") or {}).get(manifests.PROJECT_LABEL)
    if label is None or label == str(setup.project.id):
        return label is not None
    async with setup.ctx.store.read() as session:
        return await projects.was_disabled(session, setup.ctx.repository.id, label)


def _taken(name: str) -> UserError:
    return UserError("namespace_taken", f"the namespace `{name}` exists and is not this project's")


async def existing(cluster: Cluster, manifest: Manifest) -> dict[str, Any] | None:
    """The object as it is now."""
    metadata = manifest["metadata"]
    return await cluster.get(manifest["kind"], metadata.get("namespace"), metadata["name"])


async def write(
    cluster: Cluster, manifest: Manifest, *, over: dict[str, Any] | None = None, force: bool = False
) -> Written:
    """Write one object; every field of its spec must be there afterwards. `over`: only over this version of it."""
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        written = await cluster.apply(manifest, **_fence(over), force=force)
    except StaleObject as error:
        raise TemporaryError(str(error), delay=0.1) from error
    except UserError as error:
        if error.code == "field_unknown":
            raise UserError("not_kept", f"the cluster does not know a field of {what}: {error.message}") from None
        raise
    for field, value in manifest.get("spec", {}).items():
        if not _kept(value, written.object.get("spec", {}).get(field)):
            raise UserError("not_kept", f"the cluster did not keep `spec.{field}` of {what}: is its CRD older?")
    return written


def _fence(over: dict[str, Any] | None) -> dict[str, str]:
    if over is None:
        return {}
    metadata = over["metadata"]
    return {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}


def _kept(wanted: Any, found: Any) -> bool:
    """Whether a value is there as it was written; what else there is are the definition's defaults."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(name in found and _kept(value, found[name]) for name, value in wanted.items())
    return bool(wanted == found)
