"""The Kubernetes objects that Sluice writes, as plain dicts for server-side apply (design section 3)."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

Manifest = dict[str, Any]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "sluice"
SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
PROJECT_LABEL = "sluice/project"
ENVIRONMENT_LABEL = "sluice/environment"
TARGET_LABEL = "sluice/target"  # put by the operator on a namespace of others that workloads may go to
DEPLOYMENT_ANNOTATION = "sluice/deployment"
DEPLOYER_ROLE = "sluice-deployer"
CREDENTIALS = "git-credentials"

# What is under `kustomization:` in the config is passed into the spec; these fields are Sluice's own.
OWNED_FIELDS = frozenset(
    {
        "sourceRef",
        "path",
        "prune",
        "suspend",
        "serviceAccountName",
        "kubeConfig",
        "targetNamespace",
        "deletionPolicy",
    }
)


class FluxKind(msgspec.Struct, frozen=True):
    """A kind of Flux's in the version that Sluice uses."""

    group: str
    version: str
    plural: str

    @property
    def api(self) -> str:
        """Its apiVersion."""
        return f"{self.group}/{self.version}"

    @property
    def definition(self) -> str:
        """The name of its CustomResourceDefinition."""
        return f"{self.plural}.{self.group}"


KINDS = {
    "GitRepository": FluxKind("source.toolkit.fluxcd.io", "v1", "gitrepositories"),
    "HelmRepository": FluxKind("source.toolkit.fluxcd.io", "v1", "helmrepositories"),
    "OCIRepository": FluxKind("source.toolkit.fluxcd.io", "v1", "ocirepositories"),
    "HelmChart": FluxKind("source.toolkit.fluxcd.io", "v1", "helmcharts"),
    "Kustomization": FluxKind("kustomize.toolkit.fluxcd.io", "v1", "kustomizations"),
    "HelmRelease": FluxKind("helm.toolkit.fluxcd.io", "v2", "helmreleases"),
}

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HASHED = re.compile(r"(^|.*-)[0-9a-f]{16}")
_LONGEST = 40
_DIGITS = 16


def slug(text: str) -> str:
    """A DNS label that no other text gets; texts that are one already stay as they are.

    A changed text ends in 16 digits of its hash. One that merely looks so is changed, too: thus nobody can choose a
    branch name that lands on another's object.
    """
    if _LABEL.fullmatch(text) and len(text) <= _LONGEST and not _HASHED.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())[: _LONGEST - _DIGITS - 1].strip("-")
    return f"{words}-{digest}" if words else digest


def project_namespace(project_id: UUID) -> str:
    """Where a project's Flux objects live."""
    return f"project-{project_id.hex[:8]}"


def target_namespace(namespace: str, environment: str) -> str:
    """Where an environment's workloads go unless its config says otherwise."""
    return f"{namespace}-{slug(environment)}"


def account_name(environment: str) -> str:
    """The service account that Flux applies an environment with; also the name of its binding."""
    return f"sluice-{slug(environment)}"


def branch_source_name(branch: str) -> str:
    """The shared GitRepository that follows a branch. The prefix keeps it apart from the environments' own sources."""
    return f"branch-{slug(branch)}"


def own_source_name(environment: str) -> str:
    """An environment's own GitRepository, which is pinned to one commit."""
    return f"pin-{slug(environment)}"


def kustomization_name(environment: str) -> str:
    """An environment's Kustomization."""
    return slug(environment)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose objects they are."""

    project: UUID
    namespace: str  # the project's, where its Flux objects live
    environment: UUID | None = None

    def labels(self) -> dict[str, str]:
        """What marks an object as Sluice's, for the admission policy and the observer."""
        labels = {MANAGED_BY_LABEL: MANAGED_BY, PROJECT_LABEL: str(self.project)}
        if self.environment is not None:
            labels[ENVIRONMENT_LABEL] = str(self.environment)
        return labels

    def manifest(self, api: str, kind: str, name: str, namespace: str | None) -> Manifest:
        """The head of an object."""
        metadata: dict[str, Any] = {"name": name, "labels": self.labels()}
        if namespace is not None:
            metadata["namespace"] = namespace
        return {"apiVersion": api, "kind": kind, "metadata": metadata}


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """How Flux gets at a repository; `secret` is the name of the Secret beside the source, None for a public one."""

    url: str
    secret: str | None = CREDENTIALS
    interval: str = "10m"
    timeout: str = "60s"


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How an environment is applied: what its Kustomization says."""

    environment: str  # its name
    path: str
    source: str  # the name of the GitRepository
    target: str  # the namespace of the workloads
    account: str | None = None  # None: sluice-<environment>; "": Flux applies as itself
    interval: str = "10m"
    retry_interval: str = "30s"
    timeout: str = "5m"
    wait: bool = True
    extra: Mapping[str, Any] = {}  # the config's `kustomization:`


def namespace(owner: Owner, name: str) -> Manifest:
    """The project's namespace, or with an environment's owner, its target namespace."""
    return owner.manifest("v1", "Namespace", name, None)


def credentials(owner: Owner, parts: Mapping[str, str], name: str = CREDENTIALS) -> Manifest:
    """The Secret that Flux fetches with. `data`, not `stringData`: its ownership can be compared."""
    secret = owner.manifest("v1", "Secret", name, owner.namespace)
    secret["type"] = "Opaque"
    secret["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in parts.items()}
    return secret


def branch_source(owner: Owner, git: Git, branch: str) -> Manifest:
    """The shared GitRepository of all environments that follow a branch."""
    shared = msgspec.structs.replace(owner, environment=None)
    return _git_repository(shared, git, branch_source_name(branch), {"branch": branch})


def own_source(owner: Owner, git: Git, environment: str, *, branch: str, commit: str, number: int) -> Manifest:
    """A pin: the commit, the branch that it is fetched by, and the number of the deployment that moved it there."""
    source = _git_repository(owner, git, own_source_name(environment), {"branch": branch, "commit": commit})
    source["metadata"]["annotations"] = {DEPLOYMENT_ANNOTATION: str(number)}
    return source


def _git_repository(owner: Owner, git: Git, name: str, ref: dict[str, str]) -> Manifest:
    source = owner.manifest(KINDS["GitRepository"].api, "GitRepository", name, owner.namespace)
    source["spec"] = {"url": git.url, "interval": git.interval, "timeout": git.timeout, "ref": ref}
    if git.secret is not None:
        source["spec"]["secretRef"] = {"name": git.secret}
    return source


def kustomization(owner: Owner, rollout: Rollout) -> Manifest:
    """An environment's Kustomization. It never says `suspend`, and Sluice's own fields win over the config's."""
    result = owner.manifest(
        KINDS["Kustomization"].api, "Kustomization", kustomization_name(rollout.environment), owner.namespace
    )
    defaults = {
        "interval": rollout.interval,
        "retryInterval": rollout.retry_interval,
        "timeout": rollout.timeout,
        "wait": rollout.wait,
    }
    allowed = {key: value for key, value in rollout.extra.items() if key not in OWNED_FIELDS}
    result["spec"] = defaults | allowed | _owned_spec(rollout)
    return result


def _owned_spec(rollout: Rollout) -> dict[str, Any]:
    account = account_name(rollout.environment) if rollout.account is None else rollout.account
    spec = {
        "path": "./" + rollout.path.strip("/").removeprefix("./"),
        "prune": True,
        "deletionPolicy": "Orphan",
        "targetNamespace": rollout.target,
        "sourceRef": {"kind": "GitRepository", "name": rollout.source},
    }
    return spec | {"serviceAccountName": account} if account else spec


def service_account(owner: Owner, environment: str) -> Manifest:
    """The account that Flux applies with; Flux looks it up in the Kustomization's namespace, so it lives there."""
    return owner.manifest("v1", "ServiceAccount", account_name(environment), owner.namespace)


def role_binding(owner: Owner, environment: str, target: str, account: str | None = None) -> Manifest:
    """What the account may do in the target namespace, and nowhere else."""
    binding = owner.manifest("rbac.authorization.k8s.io/v1", "RoleBinding", account_name(environment), target)
    binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DEPLOYER_ROLE}
    name = account or account_name(environment)
    binding["subjects"] = [{"kind": "ServiceAccount", "name": name, "namespace": owner.namespace}]
    return binding
