"""Reads and writes the objects of one cluster by the apply rules of design section 3."""

import contextlib
from pathlib import Path
from typing import Any, Self

from bot.core.errors import StaleObject
from bot.core.fluxobjects import REQUESTED_AT
from bot.core.ports import Written
from bot.flux.connection import KINDS, Connection, NotFound, from_dict, from_kubeconfig, in_cluster

MANAGER = "sluice"

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_TRIES = 4
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class KubernetesCluster:
    """One cluster that runs Flux. It belongs to the event loop that it is first used on."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection

    @classmethod
    def from_kubeconfig(cls, name: str, path: Path, context: str | None = None) -> Self:
        """By a kubeconfig file."""
        return cls(name, from_kubeconfig(path, context))

    @classmethod
    def from_dict(cls, name: str, kubeconfig: dict[str, Any], context: str | None = None) -> Self:
        """By the content of a kubeconfig."""
        return cls(name, from_dict(kubeconfig, context))

    @classmethod
    def in_cluster(cls, name: str) -> Self:
        """By the service account of the pod."""
        return cls(name, in_cluster())

    async def close(self) -> None:
        """Close the connections."""
        await self.connection.close()

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        """An object as it is now, or None. A kind that the cluster lacks is an error: Flux is not installed."""
        try:
            return await self.connection.call("GET", KINDS[kind].path(namespace, name))
        except NotFound as missing:
            if not missing.known_kind:
                raise NotFound(f"the cluster does not know the kind {kind}", known_kind=False) from None
            return None

    async def version(self) -> str:
        """The version of Kubernetes, as in v1.36.3."""
        return str((await self.connection.call("GET", "/version")).get("gitVersion", ""))

    async def has_kind(self, kind: str) -> bool:
        """Whether the API server knows a kind; everybody who is known to it may ask that."""
        found = KINDS[kind]
        try:
            listed = await self.connection.call("GET", f"/apis/{found.api}")
        except NotFound:
            return False
        return any(each.get("name") == found.plural for each in listed.get("resources") or [])

    async def may(self, verb: str, group: str, resource: str, *, namespace: str = "", name: str = "") -> bool:
        """Whether Sluice may do this; without a namespace: everywhere."""
        what = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
        spec = {"resourceAttributes": {key: value for key, value in what.items() if value}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        answer = await self.connection.call("POST", _REVIEWS, body=review)
        return bool(answer.get("status", {}).get("allowed"))

    async def apply(
        self,
        manifest: dict[str, Any],
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        dry: bool = False,
        force: bool = False,
    ) -> Written:
        """Server-side apply. With `resource_version` give the `uid`, too: else a deleted object would be made anew."""
        if resource_version is not None and uid is None:
            raise ValueError("a resource version without the uid")
        if "suspend" in manifest.get("spec", {}):
            raise ValueError("Sluice never applies spec.suspend")
        metadata = dict(manifest["metadata"])
        if uid is not None:
            metadata["uid"] = uid
        if resource_version is not None:
            metadata["resourceVersion"] = resource_version
        query = {"fieldManager": MANAGER, "force": "true" if force else "false"} | ({"dryRun": "All"} if dry else {})
        path = KINDS[manifest["kind"]].path(metadata.get("namespace"), metadata["name"])
        body = manifest | {"metadata": metadata}
        return _written(await self.connection.call("PATCH", path, query=query, body=body, content_type=_APPLY))

    async def claim(self, kind: str, namespace: str, name: str, spec: dict[str, Any], *, uid: str) -> None:
        """Have these fields of the spec be so, whoever holds them, and leave all others as they are.

        They get a manager of their own: under ours, an apply without the other fields would take those away.
        """
        found = KINDS[kind]
        body = {
            "apiVersion": found.api,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "spec": spec,
        }
        query = {"fieldManager": f"{MANAGER}-disable", "force": "true"}
        await self.connection.call("PATCH", found.path(namespace, name), query=query, body=body, content_type=_APPLY)

    async def delete(self, kind: str, namespace: str | None, name: str, *, uid: str | None = None) -> None:
        """Delete an object; gone already is fine. With the uid: only this very one."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        with contextlib.suppress(NotFound):
            await self.connection.call("DELETE", KINDS[kind].path(namespace, name), body=options)

    async def request_reconcile(self, kind: str, namespace: str, name: str, token: str) -> None:
        """Ask Flux to reconcile: a merge patch of its own, so that it never conflicts with the `flux` command."""
        patch = {"metadata": {"annotations": {REQUESTED_AT: token}}}
        path = KINDS[kind].path(namespace, name)
        for attempt in range(1, _TRIES + 1):
            try:
                await self.connection.call(
                    "PATCH", path, query={"fieldManager": MANAGER}, body=patch, content_type=_MERGE
                )
            except NotFound:
                raise StaleObject(f"{kind} {namespace}/{name} is gone") from None
            except StaleObject:
                if attempt == _TRIES:
                    raise
            else:
                return


def _written(answer: dict[str, Any]) -> Written:
    metadata = answer["metadata"]
    return Written(
        uid=metadata["uid"],
        resource_version=metadata.get("resourceVersion", ""),  # a dry run that would make the object has none
        generation=metadata.get("generation", 0),
        object=answer,
    )
