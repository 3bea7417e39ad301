"""Judges whether a cluster has what Sluice needs, from what could be read of it."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

import msgspec

from bot.core import helm, manifests
from bot.core.manifests import Git, Owner, Rollout

Object = dict[str, Any]
Version = tuple[int, int]

FLUX_NAMESPACE = "flux-system"
POLICIES = ("sluice-gate", "sluice-status", "sluice-fence")
GATE = "CancelHealthCheckOnNewRevision"
OLDEST_KUBERNETES: Version = (1, 30)  # ValidatingAdmissionPolicy is on by default since then

# From the version that first had what Sluice uses, below the next major one.
SUPPORTED: dict[str, tuple[Version, Version]] = {
    "source-controller": ((1, 5), (2, 0)),
    "kustomize-controller": ((1, 5), (2, 0)),
    "helm-controller": ((1, 2), (2, 0)),
}
CONTROLLER_OF = {
    "GitRepository": "source-controller",
    "HelmChart": "source-controller",
    "HelmRepository": "source-controller",
    "OCIRepository": "source-controller",
    "Kustomization": "kustomize-controller",
    "HelmRelease": "helm-controller",
}
_IMPERSONATES = ("kustomize-controller", "helm-controller")
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


class Level(StrEnum):
    """How a check ended. What could not be read is not guessed."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; `remedy` is the command that mends it."""

    code: str
    level: Level
    text: str
    remedy: str = ""

    @property
    def good(self) -> bool:
        """Whether Sluice can work like this."""
        return self.level is not Level.FAILED


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, and where."""

    kinds: tuple[str, ...] = ("GitRepository", "Kustomization")
    fields: Mapping[str, frozenset[str]] = {}  # by kind: fields of the spec beside those that Sluice always writes
    namespaces: tuple[str, ...] = ()  # where Flux's objects, Secrets and accounts go; none: asked for everywhere
    targets: tuple[str, ...] = ()  # where workloads go, and bindings


class Right(msgspec.Struct, frozen=True):
    """Something that Sluice does; `place` says where: everywhere, in the project's namespace, in a target."""

    verb: str
    group: str
    resource: str
    place: str
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}" + (f"/{self.name}" if self.name else "")


class Unreadable(msgspec.Struct, frozen=True):
    """What the server did not let us read, in its words."""

    why: str


Read = Object | Unreadable | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a cluster."""

    cluster: str  # its name
    kubernetes: str
    definitions: Mapping[str, Read]  # by kind: its CustomResourceDefinition
    controllers: Mapping[str, Read]  # by name: its Deployment
    policies: Mapping[str, tuple[Read, Read]]  # by name: the policy, its binding
    deployer: Read  # the ClusterRole of the environments' accounts
    missing: tuple[tuple[Right, str], ...]  # rights, with the namespace; "" is everywhere


# What Sluice does. deploy/rbac.yaml grants it, and a test holds the two together.


def _each(verbs: str, group: str, resources: str, place: str, name: str = "") -> list[Right]:
    return [Right(verb, group, resource, place, name) for resource in resources.split() for verb in verbs.split()]


_SOURCE, _KUSTOMIZE, _HELM = (f"{name}.toolkit.fluxcd.io" for name in ("source", "kustomize", "helm"))
_RBAC = "rbac.authorization.k8s.io"
_HELM_KINDS = frozenset({"HelmRelease", "HelmChart", "HelmRepository", "OCIRepository"})

RIGHTS: tuple[Right, ...] = (
    *_each("get create patch", "", "namespaces", "everywhere"),
    *_each("create patch delete", "", "serviceaccounts secrets", "project"),
    *_each("get create patch delete", _RBAC, "rolebindings", "target"),
    *_each("bind", _RBAC, "clusterroles", "everywhere", manifests.DEPLOYER_ROLE),
    *_each("list watch", _SOURCE, "gitrepositories", "everywhere"),
    *_each("get create patch delete", _SOURCE, "gitrepositories", "project"),
    *_each("list watch", _KUSTOMIZE, "kustomizations", "everywhere"),
    *_each("get create patch delete", _KUSTOMIZE, "kustomizations", "project"),
)
HELM_RIGHTS: tuple[Right, ...] = (
    *_each("list watch", _HELM, "helmreleases", "everywhere"),
    *_each("get create patch delete", _HELM, "helmreleases", "project"),
    *_each("list watch", _SOURCE, "helmcharts helmrepositories ocirepositories", "everywhere"),
    *_each("get delete", _SOURCE, "helmcharts", "project"),
    *_each("get create patch delete", _SOURCE, "helmrepositories ocirepositories", "project"),
)


def rights(wanted: Wanted) -> tuple[Right, ...]:
    """The rights that are needed for what is wanted."""
    return RIGHTS + (HELM_RIGHTS if _HELM_KINDS.intersection(wanted.kinds) else ())


# The judgement.


def unreachable(cluster: str, why: str) -> list[Check]:
    """All that can be said of a cluster that does not answer."""
    remedy = f"set SLUICE_KUBECONFIG to a kubeconfig with which `kubectl version` reaches the cluster {cluster}"
    return [Check("cluster_unreachable", Level.FAILED, f"the cluster {cluster} cannot be used: {why}", remedy)]


def judge(facts: Facts, wanted: Wanted) -> list[Check]:
    """Every check, in the order in which its fault is to be mended."""
    return [
        Check("cluster_unreachable", Level.OK, f"reachable, Kubernetes {facts.kubernetes}"),
        *_kubernetes(facts),
        *_definitions(facts, wanted),
        *_controllers(facts),
        *_flags(facts),
        *_policies(facts),
        *_rights(facts),
    ]


def install(facts: Facts) -> str:
    """The command that brings Flux to what is needed."""
    return "sluice flux install" + ("" if facts.cluster == "default" else f" --cluster {facts.cluster}")


def _kubernetes(facts: Facts) -> Iterable[Check]:
    version = _version(facts.kubernetes)
    if version is not None and version < OLDEST_KUBERNETES:
        text = f"Kubernetes {facts.kubernetes} is older than {_shown(OLDEST_KUBERNETES)}: it lacks admission policies"
        yield Check("version_unsupported", Level.FAILED, text, "upgrade the cluster")


def _definitions(facts: Facts, wanted: Wanted) -> Iterable[Check]:
    if all(found is None for found in facts.definitions.values()):
        text = "Flux is not installed: the cluster has none of its kinds"
        yield Check("flux_missing", Level.FAILED, text, install(facts))
        return
    for kind, found in facts.definitions.items():
        yield _definition(facts, kind, found, wanted.fields.get(kind, frozenset()))


def _definition(facts: Facts, kind: str, found: Read, more: frozenset[str]) -> Check:
    name = manifests.KINDS[kind].definition
    if found is None:
        text = f"the kind {kind} is missing: there is no CustomResourceDefinition {name}"
        return Check("kinds_missing", Level.FAILED, text, install(facts))
    if isinstance(found, Unreadable):
        text = f"the definition of {kind} cannot be read: {found.why}"
        return Check("crd_older", Level.UNKNOWN, text, "kubectl apply -f deploy/rbac.yaml")
    used = manifests.KINDS[kind].version
    versions = {each["name"]: each for each in found["spec"]["versions"] if each.get("served")}
    if used not in versions:
        served = ", ".join(versions) or "none"
        text = f"{kind} is not served as {used}, which Sluice uses; served: {served}"
        return Check("version_unsupported", Level.FAILED, text, install(facts))
    lacking = sorted((written_fields(kind) | more) - _fields(versions[used]))
    if lacking:
        text = f"the definition of {kind} is too old: it lacks {', '.join(f'spec.{each}' for each in lacking)}"
        return Check("crd_older", Level.FAILED, text, install(facts))
    return Check("crd_older", Level.OK, f"{kind} is served as {used} with every field that Sluice writes")


@cache
def written_fields(kind: str) -> frozenset[str]:
    """The fields of a kind's spec that Sluice writes whatever the config says; a definition must have them."""
    owner = Owner(project=UUID(int=0), namespace="project", environment=UUID(int=0))
    git = Git(url="https://forge/acme/web")
    samples = (
        manifests.own_source(owner, git, "web", branch="main", commit="0" * 40, number=1),
        manifests.kustomization(owner, Rollout(environment="web", path="web", source="branch-main", target="web")),
        *helm.samples(owner),
    )
    return frozenset(field for each in samples if each["kind"] == kind for field in each["spec"])


def _fields(version: Object) -> set[str]:
    schema = version.get("schema", {}).get("openAPIV3Schema", {})
    return set(schema.get("properties", {}).get("spec", {}).get("properties", {}))


def _controllers(facts: Facts) -> Iterable[Check]:
    for name, found in facts.controllers.items():
        if found is None or isinstance(found, Unreadable):
            why = found.why if found else f"there is no Deployment {FLUX_NAMESPACE}/{name}"
            remedy = "kubectl apply -f deploy/rbac.yaml" if found else ""
            yield Check("version_unsupported", Level.UNKNOWN, f"the version of {name} cannot be seen: {why}", remedy)
        else:
            yield _controller(facts, name, found)


def _controller(facts: Facts, name: str, found: Object) -> Check:
    image = str((_container(found) or {}).get("image", ""))
    tag = image.partition("@")[0].rpartition(":")[2]
    version, (oldest, first_too_new) = _version(tag), SUPPORTED[name]
    if version is None:
        text = f"the version of {name} cannot be told from its image {image}"
        return Check("version_unsupported", Level.UNKNOWN, text)
    if not oldest <= version < first_too_new:
        text = f"{name} {tag} is not supported: from {_shown(oldest)}, below {_shown(first_too_new)}"
        return Check("version_unsupported", Level.FAILED, text, install(facts))
    if not _available(found):
        text = f"{name} {tag} is installed, but none of its pods is available"
        remedy = f"kubectl -n {FLUX_NAMESPACE} describe deployment {name}"
        return Check("flux_missing", Level.WARNING, text, remedy)
    return Check("version_unsupported", Level.OK, f"{name} {tag}")


def _available(found: Object) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or []
    return not any(each.get("type") == "Available" and each.get("status") == "False" for each in conditions)


def _flags(facts: Facts) -> Iterable[Check]:
    """What cannot be seen was said already."""
    readable = {name: found for name, found in facts.controllers.items() if isinstance(found, dict)}
    if "kustomize-controller" in readable:
        yield _gate(readable["kustomize-controller"])
    for name in _IMPERSONATES:
        if name in readable:
            yield _default_account(name, readable[name])


def _gate(found: Object) -> Check:
    gates = [gate for text in arguments(found, "--feature-gates") for gate in text.split(",")]
    states = [gate.partition("=")[2].lower() for gate in gates if gate.partition("=")[0].strip() == GATE]
    if states and states[-1] == "true":
        return Check("gate_missing", Level.OK, f"kustomize-controller runs with {GATE}")
    text = (
        f"kustomize-controller runs without its feature gate {GATE}: a rollback takes effect only when the health "
        "checks of the bad revision have timed out"
    )
    return Check("gate_missing", Level.WARNING, text, _add_argument(found, f"--feature-gates={GATE}=true"))


def cancels(controller: Object) -> bool:
    """Whether kustomize-controller leaves the health checks of an older revision when a newer one is there."""
    return _gate(controller).level is Level.OK


def _default_account(name: str, found: Object) -> Check:
    if any(arguments(found, "--default-service-account")):
        return Check("default_account_missing", Level.OK, f"{name} runs with --default-service-account")
    text = f"{name} runs without --default-service-account: an object without an account is applied as cluster-admin"
    remedy = _add_argument(found, "--default-service-account=default")
    return Check("default_account_missing", Level.WARNING, text, remedy)


def arguments(deployment: Object, flag: str) -> list[str]:
    """The values of a flag of a controller, in their order; written as one word or as two."""
    words = [str(word) for word in (_container(deployment) or {}).get("args") or []]
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]
    return joined + [after for word, after in itertools.pairwise(words) if word == flag]


def _container(deployment: Object) -> Object | None:
    containers = deployment["spec"]["template"]["spec"].get("containers") or []
    return next((each for each in containers if each.get("name") == "manager"), containers[0] if containers else None)


def _add_argument(found: Object, word: str) -> str:
    """Another value of the flag is taken out by hand: Flux's gates are one flag with commas."""
    patch = json.dumps([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": word}])
    name = found["metadata"]["name"]
    return f"kubectl -n {FLUX_NAMESPACE} patch deployment {name} --type=json -p '{patch}'"


def _policies(facts: Facts) -> Iterable[Check]:
    for name, (policy, binding) in facts.policies.items():
        yield _policy(name, policy, binding)


def _policy(name: str, policy: Read, binding: Read) -> Check:
    remedy = "kubectl apply -f deploy/policies.yaml"
    for what, found in (("policy", policy), ("binding", binding)):
        if isinstance(found, Unreadable):
            text = f"the {what} {name} cannot be read: {found.why}"
            return Check("policy_missing", Level.UNKNOWN, text, "kubectl apply -f deploy/rbac.yaml")
        if found is None:
            text = f"the {what} {name} is missing: the gate can be opened from a manifest"
            return Check("policy_missing", Level.FAILED, text, remedy)
    assert isinstance(policy, dict)
    assert isinstance(binding, dict)
    actions = binding["spec"].get("validationActions") or []
    if binding["spec"].get("policyName") != name or "Deny" not in actions:
        does = ", ".join(actions) or "nothing"
        return Check("policy_missing", Level.FAILED, f"the binding {name} only does {does} with {name}", remedy)
    if policy["spec"].get("failurePolicy", "Fail") != "Fail":
        text = f"the policy {name} lets through what it cannot evaluate"
        return Check("policy_missing", Level.FAILED, text, remedy)
    return Check("policy_missing", Level.OK, f"the policy {name} denies")


def _rights(facts: Facts) -> Iterable[Check]:
    remedy = "kubectl apply -f deploy/rbac.yaml"
    if facts.deployer is None:
        text = f"the ClusterRole {manifests.DEPLOYER_ROLE} is missing: the environments' accounts could do nothing"
        yield Check("rights_missing", Level.FAILED, text, remedy)
    if not facts.missing:
        yield Check("rights_missing", Level.OK, "Sluice has every right that it uses")
        return
    listed = ", ".join(f"{right} in {place}" if place else str(right) for right, place in facts.missing)
    yield Check("rights_missing", Level.FAILED, f"Sluice may not: {listed}", remedy)


def _version(text: str) -> Version | None:
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2])) if found else None


def _shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
