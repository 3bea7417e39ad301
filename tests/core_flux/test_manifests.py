"""What `/enable` and a pin write."""

import base64
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core import manifests
from bot.core.manifests import Git, Owner, Rollout, slug

PROJECT = UUID("0123abcd-0000-4000-8000-000000000001")
ENVIRONMENT = UUID("0123abcd-0000-4000-8000-000000000002")
OWNER = Owner(project=PROJECT, namespace="project-0123abcd", environment=ENVIRONMENT)
GIT = Git(url="https://git.example/acme/web")
ROLLOUT = Rollout(environment="production", path="deploy/production", source="branch-main", target="web-production")
SHA = "a" * 40
LABELS = {
    "app.kubernetes.io/managed-by": "sluice",
    "sluice/project": str(PROJECT),
    "sluice/environment": str(ENVIRONMENT),
}
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def all_of_them() -> list[dict[str, Any]]:
    return [
        manifests.namespace(OWNER, "web-production"),
        manifests.credentials(OWNER, {"username": "sluice", "password": "geheim"}),
        manifests.branch_source(OWNER, GIT, "main"),
        manifests.own_source(OWNER, GIT, "production", branch="main", commit=SHA, number=7),
        manifests.kustomization(OWNER, ROLLOUT),
        manifests.service_account(OWNER, "production"),
        manifests.role_binding(OWNER, "production", "web-production"),
    ]


@pytest.mark.parametrize("manifest", all_of_them(), ids=lambda manifest: manifest["kind"])
def test_labels_and_their_keys_are_legal(manifest: dict[str, Any]) -> None:
    metadata = manifest["metadata"]
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "sluice"
    assert metadata["labels"]["sluice/project"] == str(PROJECT)
    for key, value in metadata["labels"].items():
        assert KEY.fullmatch(key)
        assert VALUE.fullmatch(value)
    assert all(KEY.fullmatch(key) for key in metadata.get("annotations", {}))


@pytest.mark.parametrize("manifest", all_of_them(), ids=lambda manifest: manifest["kind"])
def test_never_suspend_and_no_reconcile_request(manifest: dict[str, Any]) -> None:
    """Sluice never applies spec.suspend; inside the applied object a request conflicts with the flux command."""
    assert "suspend" not in manifest.get("spec", {})
    assert "reconcile.fluxcd.io/requestedAt" not in manifest["metadata"].get("annotations", {})


def test_kustomization() -> None:
    assert manifests.kustomization(OWNER, ROLLOUT) == {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "production", "namespace": "project-0123abcd", "labels": LABELS},
        "spec": {
            "interval": "10m",
            "retryInterval": "30s",
            "timeout": "5m",
            "wait": True,
            "path": "./deploy/production",
            "prune": True,
            "deletionPolicy": "Orphan",
            "targetNamespace": "web-production",
            "serviceAccountName": "sluice-production",
            "sourceRef": {"kind": "GitRepository", "name": "branch-main"},
        },
    }


def test_what_the_config_says_is_passed_on_and_never_over_sluices_own() -> None:
    extra = dict.fromkeys(manifests.OWNED_FIELDS, "theirs") | {
        "postBuild": {"substitute": {"a": "b"}},
        "wait": False,
    }
    spec = manifests.kustomization(
        OWNER, Rollout(**{f: getattr(ROLLOUT, f) for f in ROLLOUT.__struct_fields__} | {"extra": extra})
    )["spec"]
    assert spec["postBuild"] == {"substitute": {"a": "b"}}
    assert spec["wait"] is False
    assert "theirs" not in spec.values()
    assert "kubeConfig" not in spec


@pytest.mark.parametrize("path", ["deploy/web", "./deploy/web", "/deploy/web/", "deploy/web/"])
def test_paths(path: str) -> None:
    rollout = Rollout(environment="dev", path=path, source="s", target="t")
    assert manifests.kustomization(OWNER, rollout)["spec"]["path"] == "./deploy/web"


def test_a_pin_says_branch_commit_and_the_deployments_number() -> None:
    pin = manifests.own_source(OWNER, GIT, "production", branch="main", commit=SHA, number=7)
    assert pin["metadata"]["name"] == "pin-production"
    assert pin["metadata"]["annotations"] == {"sluice/deployment": "7"}
    assert pin["spec"]["ref"] == {"branch": "main", "commit": SHA}
    assert pin["spec"]["secretRef"] == {"name": "git-credentials"}


def test_a_shared_source_belongs_to_no_environment() -> None:
    shared = manifests.branch_source(OWNER, Git(url="https://git.example/acme/web", secret=None), "main")
    assert shared["metadata"] == {
        "name": "branch-main",
        "namespace": "project-0123abcd",
        "labels": {key: value for key, value in LABELS.items() if key != "sluice/environment"},
    }
    assert shared["spec"]["ref"] == {"branch": "main"}
    assert "secretRef" not in shared["spec"]


def test_the_account_is_in_the_projects_namespace_its_binding_in_the_target() -> None:
    account, binding = (
        manifests.service_account(OWNER, "production"),
        manifests.role_binding(OWNER, "production", "web"),
    )
    assert account["metadata"]["namespace"] == "project-0123abcd"
    assert binding["metadata"]["namespace"] == "web"
    assert binding["roleRef"]["name"] == "sluice-deployer"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "sluice-production", "namespace": "project-0123abcd"}
    ]


def test_credentials() -> None:
    secret = manifests.credentials(OWNER, {"username": "sluice", "password": "geheim"})
    assert {key: base64.b64decode(value) for key, value in secret["data"].items()} == {
        "username": b"sluice",
        "password": b"geheim",
    }


def test_namespaces() -> None:
    namespace = manifests.project_namespace(PROJECT)
    assert namespace == "project-0123abcd"
    assert manifests.target_namespace(namespace, "production") == "project-0123abcd-production"


@pytest.mark.parametrize("text", ["main", "production", "release-1", "a", "0"])
def test_what_is_a_name_already_stays(text: str) -> None:
    assert slug(text) == text


def test_nobody_lands_on_anothers_object() -> None:
    """Neither by letters that look the same to Kubernetes nor by a branch that is named like another's object."""
    branches = [
        "main",
        "Main",
        "MAIN",
        "feature/x",
        "feature-x",
        "feature.x",
        "feature--x",
        "-main",
        "main-",
        "ä",
        "é",
        "",
    ]
    branches += [slug(branch) for branch in branches]
    assert len({slug(branch) for branch in set(branches)}) == len(set(branches))
    sources = {manifests.branch_source_name(branch) for branch in [*branches, "pin-production"]}
    assert not sources & {manifests.own_source_name(name) for name in [*branches, "production", "main"]}


@given(st.text(max_size=300), st.text(max_size=300))
def test_slugs_are_legal_and_of_one_text_only(one: str, other: str) -> None:
    made = slug(one)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", made)
    assert len("project-0123abcd-" + made) <= 63
    assert (made == slug(other)) == (one == other)
