"""Read and write objects of a cluster by their kind: what the tests do there as an administrator or as anybody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, dynamic

from tests.servers.waiting import until

Object = dict[str, Any]

VERSIONS = {
    "GitRepository": "source.toolkit.fluxcd.io/v1",
    "HelmChart": "source.toolkit.fluxcd.io/v1",
    "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
    "HelmRelease": "helm.toolkit.fluxcd.io/v2",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "CertificateSigningRequest": "certificates.k8s.io/v1",
}
"""The version of each kind that the tests use; what is not named here is in `v1`."""


class Objects:
    """The objects of one cluster, as one user sees them; refusals are raised as ``kubernetes.client.ApiException``."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.api: client.ApiClient = config.new_client_from_config(str(kubeconfig))
        self._dynamic: dynamic.DynamicClient | None = None
        self._kinds: dict[tuple[str, str], Any] = {}
        self._discovering = threading.Lock()  # the dynamic client's discovery is not made for several threads

    def close(self) -> None:
        """Close its connections."""
        self.api.close()
        self.api.rest_client.pool_manager.clear()

    def apply(
        self, what: str | Object, *, manager: str = "tests", force: bool = True, dry_run: bool = False
    ) -> list[Object]:
        """Apply (server-side) every object of a YAML text, or one object; returns what became of each."""
        more = {"dry_run": "All"} if dry_run else {}
        return [
            self.resource(each["kind"], each["apiVersion"])
            .server_side_apply(body=each, field_manager=manager, force_conflicts=force, **more, **_place(each))
            .to_dict()
            for each in documents(what)
        ]

    def create(self, what: Object) -> Object:
        """Create one object."""
        answer = self.resource(what["kind"], what["apiVersion"]).create(body=what, **_place(what))
        return dict(answer.to_dict())

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None."""
        try:
            return dict(self.resource(kind).get(name=name, namespace=namespace).to_dict())
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """All objects of a kind, everywhere or in one namespace."""
        found = self.resource(kind).get(namespace=namespace, label_selector=selector or None)
        return [dict(item) for item in found.to_dict()["items"]]

    def patch(
        self, kind: str, name: str, body: Mapping[str, Any], namespace: str | None = None, *, subresource: str = ""
    ) -> Object:
        """Merge this into an object, or into its status."""
        resource = self.resource(kind)
        if subresource:
            resource = resource.subresources[subresource]
        answer = resource.patch(
            body=dict(body), name=name, namespace=namespace, content_type="application/merge-patch+json"
        )
        return dict(answer.to_dict())

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        """Delete one object, if it is there."""
        try:
            self.resource(kind).delete(name=name, namespace=namespace)
        except client.ApiException as error:
            if error.status != 404:
                raise

    def wait(
        self, kind: str, name: str, namespace: str | None, check: Callable[[Object], Any], seconds: float = 30
    ) -> Object:
        """The object as soon as the check says yes; the error shows how it was at last."""
        last: list[Object | None] = [None]

        def look() -> Object | None:
            last[0] = self.get(kind, name, namespace)
            return last[0] if last[0] is not None and check(last[0]) else None

        try:
            return until(look, seconds, f"{kind} {namespace}/{name}")
        except TimeoutError as error:
            status = (last[0] or {}).get("status")
            raise TimeoutError(f"{error}; its status: {json.dumps(status, default=str)}") from None

    def watch(self, kind: str, name: str, namespace: str | None = None, seconds: int = 60) -> Iterator[Object]:
        """The object as it is and then at each change, also those that last only a moment; ends after these seconds."""
        field = f"metadata.name={name}"
        for event in self.resource(kind).watch(namespace=namespace, field_selector=field, timeout=seconds):
            yield dict(event["raw_object"])

    def wait_gone(self, kind: str, name: str, namespace: str | None = None, seconds: float = 30) -> None:
        """Return when there is no such object any more."""
        until(lambda: self.get(kind, name, namespace) is None, seconds, f"{kind} {namespace}/{name} gone")

    def resource(self, kind: str, version: str | None = None) -> Any:
        """The dynamic client's own object for a kind."""
        key = (version or VERSIONS.get(kind, "v1"), kind)
        with self._discovering:
            if self._dynamic is None:
                cache = self.kubeconfig.with_suffix(".discovery.json")
                self._dynamic = dynamic.DynamicClient(self.api, cache_file=str(cache))
            if key not in self._kinds:
                self._kinds[key] = self._dynamic.resources.get(api_version=key[0], kind=kind)
            return self._kinds[key]


def documents(what: str | Object) -> Iterator[Object]:
    """The objects in a YAML text."""
    if isinstance(what, dict):
        yield what
        return
    yield from (each for each in yaml.safe_load_all(what) if each)


def condition(item: Object | None, kind: str = "Ready") -> Object:
    """One condition of an object's status; empty when it has none."""
    for each in ((item or {}).get("status") or {}).get("conditions") or []:
        if each["type"] == kind:
            return dict(each)
    return {}


def is_ready(item: Object) -> bool:
    """Ready=True, said about the present generation, with the rest of the status.

    Flux writes the conditions first and the other fields of the status a moment later, in another request.
    """
    ready, generation = condition(item), item["metadata"]["generation"]
    seen = (ready.get("observedGeneration"), (item.get("status") or {}).get("observedGeneration"))
    return ready.get("status") == "True" and seen == (generation, generation)


def _place(item: Object) -> dict[str, str]:
    """The name and namespace of an object, as arguments."""
    metadata = item["metadata"]
    return {key: metadata[key] for key in ("name", "namespace") if metadata.get(key)}
