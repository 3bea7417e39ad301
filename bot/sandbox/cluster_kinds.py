"""The kinds that the sandbox cluster knows: their paths, their defaults, and the few rules it checks."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from bot.sandbox.cluster_errors import ApiError, Cause, Json, invalid

SOURCE = "source.toolkit.fluxcd.io"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
HELM = "helm.toolkit.fluxcd.io"
RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"

DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
SHORT_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_UNCHECKED: Cause = (
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    custom: bool = False
    status: bool = False
    generation: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def _table() -> list[Kind]:
    live = {"status": True, "generation": True}
    custom = {"custom": True, **live}
    return [
        Kind("", "v1", "namespaces", "Namespace", namespaced=False, status=True),
        Kind("", "v1", "nodes", "Node", namespaced=False, status=True),
        *(Kind("", "v1", p, k) for p, k in [("secrets", "Secret"), ("configmaps", "ConfigMap"), ("events", "Event")]),
        Kind("", "v1", "serviceaccounts", "ServiceAccount"),
        Kind("", "v1", "services", "Service", status=True),
        Kind("", "v1", "pods", "Pod", status=True),
        Kind("", "v1", "resourcequotas", "ResourceQuota", status=True),
        Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", status=True),
        Kind("apps", "v1", "deployments", "Deployment", **live),
        Kind("apps", "v1", "statefulsets", "StatefulSet", **live),
        Kind("apps", "v1", "daemonsets", "DaemonSet", **live),
        Kind("apps", "v1", "replicasets", "ReplicaSet", **live),
        Kind("batch", "v1", "jobs", "Job", **live),
        Kind("batch", "v1", "cronjobs", "CronJob", **live),
        Kind("networking.k8s.io", "v1", "ingresses", "Ingress", **live),
        Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", generation=True),
        Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", status=True),
        Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", **live),
        Kind(RBAC, "v1", "roles", "Role"),
        Kind(RBAC, "v1", "rolebindings", "RoleBinding"),
        Kind(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        Kind(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        Kind(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False, False, **live),
        Kind(ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False),
        Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False, **live),
        Kind(SOURCE, "v1", "gitrepositories", "GitRepository", **custom),
        Kind(SOURCE, "v1", "helmrepositories", "HelmRepository", **custom),
        Kind(SOURCE, "v1", "ocirepositories", "OCIRepository", **custom),
        Kind(SOURCE, "v1", "helmcharts", "HelmChart", **custom),
        Kind(KUSTOMIZE, "v1", "kustomizations", "Kustomization", **custom),
        Kind(HELM, "v2", "helmreleases", "HelmRelease", **custom),
    ]


KINDS = _table()
BY_PATH = {(k.group, k.version, k.plural): k for k in KINDS}
BY_KIND = {k.kind: k for k in KINDS}
CUSTOM_GROUPS = frozenset(k.group for k in KINDS if k.custom)
GROUPS = sorted({k.group for k in KINDS if k.group} | {"authorization.k8s.io"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN_SPEC_FIELDS: dict[str, frozenset[str]] = {
    "GitRepository": _words(
        "ignore include interval provider proxySecretRef recurseSubmodules ref secretRef "
        "serviceAccountName sparseCheckout suspend timeout url verify"
    ),
    "HelmChart": _words(
        "chart ignoreMissingValuesFiles interval reconcileStrategy sourceRef suspend valuesFiles verify version"
    ),
    "HelmRelease": _words(
        "chart chartRef commonMetadata dependsOn driftDetection healthCheckExprs install interval kubeConfig "
        "maxHistory persistentClient postRenderStrategy postRenderers releaseName rollback serviceAccountName "
        "storageNamespace suspend targetNamespace test timeout uninstall upgrade values valuesFrom waitStrategy"
    ),
    "HelmRepository": _words(
        "accessFrom certSecretRef insecure interval passCredentials provider secretRef suspend timeout type url"
    ),
    "Kustomization": _words(
        "buildMetadata commonMetadata components decryption deletionPolicy dependsOn force "
        "healthCheckExprs healthChecks ignore ignoreMissingComponents images interval kubeConfig "
        "namePrefix nameSuffix patches path postBuild prune retryInterval serviceAccountName sourceRef "
        "suspend targetNamespace timeout wait"
    ),
    "OCIRepository": _words(
        "certSecretRef ignore insecure interval layerSelector provider proxySecretRef ref secretRef "
        "serviceAccountName suspend timeout url verify"
    ),
}
"""Top-level fields of the specs, as Flux 2.9's CRDs have them; the cluster's own CRDs say which it takes."""

_REQUIRED = {
    "GitRepository": ["interval", "url"],
    "Kustomization": ["interval", "prune", "sourceRef"],
    "HelmRelease": ["interval"],
    "HelmChart": ["chart", "interval", "sourceRef"],
    "HelmRepository": ["url"],
    "OCIRepository": ["interval", "url"],
}
_PATTERNS = {
    "GitRepository": {"interval": DURATION, "timeout": SHORT_DURATION, "url": r"^(http|https|ssh)://.*$"},
    "Kustomization": {"interval": DURATION, "retryInterval": DURATION, "timeout": DURATION},
    "HelmRelease": {"interval": DURATION, "timeout": DURATION},
}
_CHOICES = {"Kustomization": {"deletionPolicy": ["MirrorPrune", "Delete", "WaitForTermination", "Orphan"]}}
_BOOLEANS = {"GitRepository": ["suspend"], "Kustomization": ["prune", "suspend", "wait", "force"]}


def lookup(group: str, version: str, plural: str) -> Kind | None:
    return BY_PATH.get((group, version, plural))


def for_object(obj: Json) -> Kind | None:
    """The kind of a manifest, where the sandbox knows it."""
    kind = BY_KIND.get(str(obj.get("kind", "")))
    if kind is None or kind.api_version != obj.get("apiVersion"):
        return None
    return kind


def with_defaults(kind: Kind, obj: Json) -> None:
    """Fill in what the server fills in, in place."""
    meta = obj["metadata"]
    spec = obj.get("spec")
    if kind.kind == "GitRepository" and isinstance(spec, dict):
        spec.setdefault("timeout", "60s")
    elif kind.kind == "Kustomization" and isinstance(spec, dict):
        spec.setdefault("force", False)
    elif kind.kind == "Namespace":
        meta.setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", meta["name"])
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        obj.setdefault("status", {}).setdefault("phase", "Active")
    elif kind.kind == "CustomResourceDefinition":
        served = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}
        obj.setdefault("status", {}).setdefault("conditions", [served])
    elif kind.kind == "Secret":
        obj.setdefault("type", "Opaque")
        strings = obj.pop("stringData", None)
        if strings:
            data = obj.setdefault("data", {})
            data.update({key: base64.b64encode(str(value).encode()).decode() for key, value in strings.items()})
    if kind.custom and kind.group in (SOURCE, KUSTOMIZE, HELM):
        obj.setdefault("status", {}).setdefault("observedGeneration", -1)


def validate(kind: Kind, obj: Json) -> None:
    """Refuse what the CRD's schema refuses, with its words."""
    causes = _name_faults(obj) or _spec_faults(kind, obj.get("spec"))
    if causes:
        raise invalid(kind.kind, kind.group, obj["metadata"].get("name", ""), causes)


def _name_faults(obj: Json) -> list[Cause]:
    name = obj["metadata"].get("name", "")
    if not name:
        return [("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")]
    kind = obj.get("kind", "")
    if kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding") or _NAME.fullmatch(name):
        return []
    return [("FieldValueInvalid", f'Invalid value: "{name}": {_NAME_RULE}', "metadata.name")]


def _spec_faults(kind: Kind, spec: Any) -> list[Cause]:
    required = _REQUIRED.get(kind.kind)
    if required is None:
        return []
    fields = spec if isinstance(spec, dict) else {}
    causes: list[Cause] = []
    for name in sorted({*required, *fields}):
        field = f"spec.{name}"
        if name not in fields:
            causes.append(("FieldValueRequired", "Required value", field))
            continue
        causes += _value_faults(kind.kind, name, field, fields[name])
    causes.sort(key=lambda cause: cause[0] == "FieldValueNotSupported")
    bare = all(reason == "FieldValueInvalid" for reason, _, _ in causes)
    return causes + ([] if not causes or bare else [_UNCHECKED])


def _value_faults(kind: str, name: str, field: str, value: Any) -> list[Cause]:
    pattern = _PATTERNS.get(kind, {}).get(name)
    if pattern and not (isinstance(value, str) and re.match(pattern, value)):
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        why = f"Invalid value: {shown}: {field} in body should match '{pattern}'"
        return [("FieldValueInvalid", why, field)]
    choices = _CHOICES.get(kind, {}).get(name)
    if choices and value not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        return [("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {listed}', field)]
    if name in _BOOLEANS.get(kind, []) and not isinstance(value, bool):
        shown = {str: "string", int: "integer", float: "number"}.get(type(value), "object")
        why = f'Invalid value: "{shown}": {field} in body must be of type boolean: "{shown}"'
        return [("FieldValueTypeInvalid", why, field)]
    return []


def undeclared(obj: Json, known: frozenset[str] | None) -> list[str]:
    """Names of fields in the spec that the CRD does not have."""
    spec = obj.get("spec")
    if known is None or not isinstance(spec, dict):
        return []
    return [name for name in spec if name not in known]


def not_in_schema(kind: Kind, namespace: str, name: str, fields: list[str]) -> ApiError:
    """What a server-side apply says about a field that the CRD lacks (a 500 without a reason, as the real one)."""
    where = f"{namespace}/{name}; {kind.api_version}, Kind={kind.kind}"
    listed = "\n  ".join(f".spec.{field}: field not declared in schema" for field in fields)
    body = f"errors:\n  {listed}" if len(fields) > 1 else listed
    return ApiError(500, f"failed to create typed patch object ({where}): {body}", "")
