"""What a sandbox cluster holds before anybody uses it: a node, Flux, its CRDs, the roles, and Sluice's gate.

The policies are there to be read; the sandbox does not evaluate them. Its small Flux keeps to the roles.
"""

from __future__ import annotations

from collections.abc import Iterable

from bot.flux import gate
from bot.sandbox.cluster_errors import Json
from bot.sandbox.cluster_kinds import HELM, KINDS, KNOWN_SPEC_FIELDS, KUSTOMIZE, RBAC, SOURCE, Kind

_FLUX_VERSION = "v2.9.3"
_ALL = ["get", "list", "watch", "create", "update", "patch", "delete"]
_DEPLOYER: list[tuple[str, list[str]]] = [
    ("", ["configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "pods", "events"]),
    ("apps", ["deployments", "statefulsets", "daemonsets", "replicasets"]),
    ("batch", ["jobs", "cronjobs"]),
    ("networking.k8s.io", ["ingresses", "networkpolicies"]),
    ("autoscaling", ["horizontalpodautoscalers"]),
    ("policy", ["poddisruptionbudgets"]),
]
_FLUX_KINDS = [(SOURCE, ["*"]), (KUSTOMIZE, ["*"]), (HELM, ["*"])]


def objects(*, cancel_health_checks: bool = True) -> list[Json]:
    """All of it, in the order in which it can be made."""
    namespaces = [_object("v1", "Namespace", name) for name in ("default", "kube-system", "flux-system")]
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "sandbox"}
    node = _object("v1", "Node", "sandbox", labels=labels)
    ours = [*gate.manifests(gate.RIGHTS), *gate.manifests(gate.POLICIES)]
    return [*namespaces, node, *_crds(), *_roles(), *ours, *_controllers(cancel_health_checks)]


def _object(api_version: str, kind: str, name: str, namespace: str = "", **more: Json) -> Json:
    meta: Json = {"name": name, **({"namespace": namespace} if namespace else {})}
    if "labels" in more:
        meta["labels"] = more.pop("labels")
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **more}


def _crds() -> list[Json]:
    return [definition(kind, KNOWN_SPEC_FIELDS[kind.kind]) for kind in KINDS if kind.custom]


def definition(kind: Kind, fields: Iterable[str]) -> Json:
    """The CustomResourceDefinition of a kind of Flux's whose spec has these fields."""
    return _object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"{kind.plural}.{kind.group}",
        labels={"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": _FLUX_VERSION},
        spec={
            "group": kind.group,
            "names": {"kind": kind.kind, "plural": kind.plural, "singular": kind.kind.lower()},
            "scope": "Namespaced",
            "versions": [{"name": kind.version, "served": True, "storage": True, "schema": _schema(fields)}],
        },
    )


def _schema(fields: Iterable[str]) -> Json:
    """The spec's fields by name alone: the sandbox checks the few rules of theirs itself."""
    anything = {"x-kubernetes-preserve-unknown-fields": True}
    properties = {
        "spec": {"type": "object", "properties": dict.fromkeys(sorted(fields), anything)},
        "status": {"type": "object", **anything},
    }
    return {"openAPIV3Schema": {"type": "object", "properties": properties}}


def _roles() -> list[Json]:
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    edit = _rules([*_DEPLOYER, *_FLUX_KINDS])
    admin = [*edit, *_rules([(RBAC, ["roles", "rolebindings"])])]
    named = {"cluster-admin": everything, "admin": admin, "edit": edit}
    return [_object(f"{RBAC}/v1", "ClusterRole", name) | {"rules": rules} for name, rules in named.items()]


def _rules(table: list[tuple[str, list[str]]]) -> list[Json]:
    return [{"apiGroups": [group], "resources": resources, "verbs": _ALL} for group, resources in table]


def _controllers(cancel_health_checks: bool) -> list[Json]:
    gates = ["--feature-gates=CancelHealthCheckOnNewRevision=true"] if cancel_health_checks else []
    named = {"source-controller": ("v1.9.6", []), "kustomize-controller": ("v1.9.3", gates)}
    named["helm-controller"] = ("v1.6.0", [])
    return [_controller(name, version, extra) for name, (version, extra) in named.items()]


def _controller(name: str, version: str, extra: list[str]) -> Json:
    labels = {
        "app.kubernetes.io/part-of": "flux",
        "app.kubernetes.io/component": name,
        "app.kubernetes.io/version": _FLUX_VERSION,
    }
    container = {
        "name": "manager",
        "image": f"ghcr.io/fluxcd/{name}:{version}",
        "args": ["--watch-all-namespaces=true", "--default-service-account=default", *extra],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return _object("apps/v1", "Deployment", name, "flux-system", labels=labels, spec=spec)
