"""What is made of Flux's manifests before they are applied."""

from typing import Any

import pytest

from bot.core.fluxinstall import Limits, knows_gate, stages, why_unavailable

GATED = "--feature-gates=CancelHealthCheckOnNewRevision=true"
DEFAULT = "--default-service-account=default"


def deployment(name: str, *arguments: str, tag: str = "v1.9.3") -> dict[str, Any]:
    container: dict[str, Any] = {"name": "manager", "image": f"ghcr.io/fluxcd/{name}:{tag}", "args": list(arguments)}
    template = {"spec": {"containers": [container]}}
    return {"kind": "Deployment", "metadata": {"name": name}, "spec": {"template": template}}


def named(kind: str, name: str = "x") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}}


def tuned(given: dict[str, Any], limits: Limits | None = None) -> dict[str, Any]:
    """What becomes of one controller."""
    others = [name for name in ("source-controller", "kustomize-controller") if name != given["metadata"]["name"]]
    whole = [given, named("CustomResourceDefinition"), *(deployment(name) for name in others)]
    for found in stages(whole, limits or Limits())[-1]:
        if found["metadata"]["name"] == given["metadata"]["name"]:
            return dict(found["spec"]["template"]["spec"]["containers"][0])
    raise AssertionError


def test_the_order() -> None:
    """Definitions, then namespaces, then what controllers need, then controllers; else as they were."""
    given = [
        deployment("source-controller"),
        named("ServiceAccount"),
        named("Namespace"),
        deployment("kustomize-controller"),
        named("ClusterRole"),
        named("CustomResourceDefinition"),
    ]
    kinds = [[each["kind"] for each in stage] for stage in stages(given, Limits())]
    assert kinds == [
        ["CustomResourceDefinition"],
        ["Namespace"],
        ["ServiceAccount", "ClusterRole"],
        ["Deployment", "Deployment"],
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (deployment("kustomize-controller", "--a"), ["--a", DEFAULT, GATED]),
        (deployment("helm-controller", "--a", tag="v1.5.0"), ["--a", DEFAULT, GATED]),
        (deployment("helm-controller", "--a", tag="v1.4.5"), ["--a", DEFAULT]),  # it would not start with the gate
        (deployment("kustomize-controller", tag="v1.6.1"), [DEFAULT]),
        (deployment("source-controller", "--a"), ["--a"]),
        (deployment("kustomize-controller", "--default-service-account=web"), ["--default-service-account=web", GATED]),
        (
            deployment("kustomize-controller", DEFAULT, "--feature-gates=A=true,CancelHealthCheckOnNewRevision=false"),
            [DEFAULT, "--feature-gates=A=true,CancelHealthCheckOnNewRevision=true"],
        ),
    ],
)
def test_flags(given: dict[str, Any], wanted: list[str]) -> None:
    """Added where they are missing; what is there beside them stays."""
    before = repr(given)
    assert tuned(given)["args"] == wanted
    assert repr(given) == before


def test_limits() -> None:
    """Only what is given is changed."""
    given = deployment("kustomize-controller")
    container = given["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}
    assert tuned(given, Limits(memory="2Gi"))["resources"] == {
        "limits": {"cpu": "1", "memory": "2Gi"},
        "requests": {"cpu": "100m"},
    }
    assert tuned(given)["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


def test_a_controller_by_its_digest_is_taken_for_a_current_one() -> None:
    assert knows_gate("kustomize-controller", "mirror:5000/kustomize-controller@sha256:12")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, "it was not looked at yet"),
        (
            {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
            "it was not looked at",
        ),
        ({"observedGeneration": 2}, "0 of 2 pods are available"),
        ({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}, "1 of 2 pods"),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, "1 of 2 pods"),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, None),
    ],
)
def test_available(status: dict[str, Any], why: str | None) -> None:
    """All pods are of the newest template, and available."""
    found = why_unavailable({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status})
    assert found is None if why is None else found is not None and why in found


def test_nothing_there() -> None:
    assert why_unavailable(None) == "it is not there"
