"""What is said of a cluster, for each thing that was read of it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bot.core import checks
from bot.core.checks import Facts, Level, Unreadable, Wanted

ROOT = Path(__file__).parents[2]
DENIED = Unreadable('deployments.apps "kustomize-controller" is forbidden')


def definition(kind: str, version: str = "v1", without: frozenset[str] = frozenset()) -> dict[str, Any]:
    fields = {field: {} for field in checks.written_fields(kind) - without}
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": fields}}}}
    return {"spec": {"versions": [{"name": version, "served": True, "schema": schema}]}}


def controller(
    name: str, tag: str = "v1.9.3", *arguments: str, available: str = "True", image: str = ""
) -> dict[str, Any]:
    words = arguments or ("--feature-gates=CancelHealthCheckOnNewRevision=true", "--default-service-account=default")
    container = {"name": "manager", "image": image or f"ghcr.io/fluxcd/{name}:{tag}", "args": list(words)}
    return {
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "envoy:3.1"}, container]}}},
        "status": {"conditions": [{"type": "Available", "status": available}]},
    }


def policy(name: str, actions: tuple[str, ...] = ("Deny",), failure: str = "Fail") -> tuple[Any, Any]:
    return (
        {"spec": {"failurePolicy": failure}},
        {"spec": {"policyName": name, "validationActions": list(actions)}},
    )


WHOLE = Facts(
    cluster="default",
    kubernetes="v1.36.3",
    definitions={kind: definition(kind) for kind in ("GitRepository", "Kustomization")},
    controllers={name: controller(name) for name in ("source-controller", "kustomize-controller")},
    policies={name: policy(name) for name in checks.POLICIES},
    deployer={"metadata": {"name": "sluice-deployer"}},
    missing=(),
)


def but(**changes: Any) -> Facts:
    return msgspec.structs.replace(WHOLE, **changes)


def with_controller(found: Any) -> Facts:
    return but(controllers={"kustomize-controller": found})


def with_definition(found: Any) -> Facts:
    return but(definitions={"GitRepository": definition("GitRepository"), "Kustomization": found})


CASES: dict[str, tuple[Facts, str, Level, str]] = {
    "kubernetes without admission policies": (
        but(kubernetes="v1.29.4-gke.1"),
        "version_unsupported",
        Level.FAILED,
        "Kubernetes v1.29.4-gke.1 is older than 1.30",
    ),
    "only an old version of a kind is served": (
        with_definition(definition("Kustomization", "v1beta2")),
        "version_unsupported",
        Level.FAILED,
        "Kustomization is not served as v1, which Sluice uses; served: v1beta2",
    ),
    "an older definition": (
        with_definition(definition("Kustomization", without=frozenset({"deletionPolicy", "retryInterval"}))),
        "crd_older",
        Level.FAILED,
        "it lacks spec.deletionPolicy, spec.retryInterval",
    ),
    "a definition that may not be read": (
        with_definition(DENIED),
        "crd_older",
        Level.UNKNOWN,
        "the definition of Kustomization cannot be read",
    ),
    "a controller that is too old": (
        with_controller(controller("kustomize-controller", "v1.4.9")),
        "version_unsupported",
        Level.FAILED,
        "kustomize-controller v1.4.9 is not supported: from 1.5, below 2.0",
    ),
    "a controller that is too new": (
        with_controller(controller("kustomize-controller", "v2.0.0")),
        "version_unsupported",
        Level.FAILED,
        "kustomize-controller v2.0.0 is not supported",
    ),
    "a controller that is known by its digest only": (
        with_controller(controller("kustomize-controller", image="mirror:5000/flux/kustomize@sha256:12")),
        "version_unsupported",
        Level.UNKNOWN,
        "cannot be told from its image mirror:5000/flux/kustomize@sha256:12",
    ),
    "no Deployment: it may run elsewhere": (
        with_controller(None),
        "version_unsupported",
        Level.UNKNOWN,
        "there is no Deployment flux-system/kustomize-controller",
    ),
    "a Deployment that may not be read": (
        with_controller(DENIED),
        "version_unsupported",
        Level.UNKNOWN,
        "is forbidden",
    ),
    "a controller without a pod": (
        with_controller(controller("kustomize-controller", available="False")),
        "flux_missing",
        Level.WARNING,
        "none of its pods is available",
    ),
    "no feature gates at all": (
        with_controller(controller("kustomize-controller", "v1.9.3", "--default-service-account=default")),
        "gate_missing",
        Level.WARNING,
        "a rollback takes effect only when",
    ),
    "the gate is off": (
        with_controller(
            controller(
                "kustomize-controller",
                "v1.9.3",
                "--feature-gates=A=true,CancelHealthCheckOnNewRevision=false",
                "--default-service-account=default",
            )
        ),
        "gate_missing",
        Level.WARNING,
        "without its feature gate",
    ),
    "no default account": (
        with_controller(
            controller(
                "kustomize-controller",
                "v1.9.3",
                "--feature-gates=CancelHealthCheckOnNewRevision=true",
                "--default-service-account=",
            )
        ),
        "default_account_missing",
        Level.WARNING,
        "is applied as cluster-admin",
    ),
    "a policy is not there": (
        but(policies={"sluice-gate": (None, policy("sluice-gate")[1])}),
        "policy_missing",
        Level.FAILED,
        "the policy sluice-gate is missing",
    ),
    "a binding is not there": (
        but(policies={"sluice-gate": (policy("sluice-gate")[0], None)}),
        "policy_missing",
        Level.FAILED,
        "the binding sluice-gate is missing",
    ),
    "a binding that only tells": (
        but(policies={"sluice-gate": policy("sluice-gate", ("Audit", "Warn"))}),
        "policy_missing",
        Level.FAILED,
        "the binding sluice-gate only does Audit, Warn",
    ),
    "a binding of another policy": (
        but(policies={"sluice-gate": (policy("sluice-gate")[0], policy("another")[1])}),
        "policy_missing",
        Level.FAILED,
        "the binding sluice-gate",
    ),
    "a policy that fails open": (
        but(policies={"sluice-gate": policy("sluice-gate", failure="Ignore")}),
        "policy_missing",
        Level.FAILED,
        "lets through what it cannot evaluate",
    ),
    "a policy that may not be read": (
        but(policies={"sluice-gate": (Unreadable("forbidden"), None)}),
        "policy_missing",
        Level.UNKNOWN,
        "the policy sluice-gate cannot be read: forbidden",
    ),
    "no role to bind": (
        but(deployer=None),
        "rights_missing",
        Level.FAILED,
        "the ClusterRole sluice-deployer is missing",
    ),
    "rights are missing": (
        but(missing=((checks.RIGHTS[0], ""), (checks.RIGHTS[3], "project-1"))),
        "rights_missing",
        Level.FAILED,
        "Sluice may not: get namespaces, create serviceaccounts in project-1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name: str) -> None:
    """Exactly this one is told, with its code and something to do where Sluice knows what."""
    facts, code, level, words = CASES[name]
    [found] = [each for each in checks.judge(facts, Wanted()) if each.level is not Level.OK]
    assert (found.code, found.level) == (code, level)
    assert words in found.text
    assert found.good is (level is not Level.FAILED)
    assert found.remedy or level is Level.UNKNOWN


def test_nothing_is_wrong() -> None:
    """A whole cluster has good checks only."""
    assert {each.level for each in checks.judge(WHOLE, Wanted())} == {Level.OK}


def test_two_words_are_a_flag_as_well() -> None:
    """Flags may be written with a space."""
    found = controller("kustomize-controller", "v1.9.3", "--feature-gates", "CancelHealthCheckOnNewRevision=true")
    assert checks.arguments(found, "--feature-gates") == ["CancelHealthCheckOnNewRevision=true"]


def test_another_cluster_is_named_in_the_command() -> None:
    """The command works as it stands."""
    facts = but(cluster="eu", definitions={"GitRepository": None, "Kustomization": None})
    assert "sluice flux install --cluster eu" in [each.remedy for each in checks.judge(facts, Wanted())]


def granted() -> set[tuple[str, str, str, str]]:
    """What deploy/rbac.yaml gives to Sluice."""
    documents = list(yaml.safe_load_all((ROOT / "deploy/rbac.yaml").read_text()))
    [role] = [each for each in documents if each["kind"] == "ClusterRole" and each["metadata"]["name"] == "sluice"]
    return {
        (verb, group, resource, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def test_the_role_grants_what_is_used_and_no_more() -> None:
    """deploy/rbac.yaml has each right that Sluice asks for; beyond them it may only look, for the checks."""
    used = {
        (each.verb, each.group, each.resource, each.name)
        for each in checks.rights(Wanted(kinds=("GitRepository", "HelmRelease")))
    }
    assert used <= granted()
    looks = {
        (verb, resource)
        for verb, _, resource, name in granted() - used
        if name  # of named objects only
    }
    assert looks == {
        ("get", "customresourcedefinitions"),
        ("get", "deployments"),
        ("get", "clusterroles"),
        ("get", "validatingadmissionpolicies"),
        ("get", "validatingadmissionpolicybindings"),
    }
    assert not [each for each in granted() - used if not each[3]]
