"""The columns of gitops_resources say what Flux says."""

from typing import Any

import pytest

from bot.core.settling import ResourceStatus, resource_status
from tests.core_flux.objects import OLD, PATH_NOT_FOUND, R, failed, kustomization, progressing, source

NEW: dict[str, Any] = {"kind": "Kustomization", "metadata": {"name": "development", "generation": 1}, "spec": {}}
READY = ("ReconciliationSucceeded", "Applied revision: main@sha1:...")

CASES: dict[str, tuple[dict[str, Any], tuple[str, str | None, str | None]]] = {
    "just made": (NEW, ("pending", None, None)),
    "ready": (kustomization(), ("ready", *READY)),
    "a new spec that Flux has not seen": (kustomization(condition_observed=1), ("reconciling", *READY)),
    "in the middle": (
        progressing(text="Running health checks"),
        ("reconciling", "Progressing", "Running health checks"),
    ),
    "failed, in Flux's words without its folders": (
        failed("ArtifactFailed", PATH_NOT_FOUND),
        ("failed", "ArtifactFailed", "kustomization path not found: stat deploy/dev: no such file or directory"),
    ),
    "stalled": (
        kustomization(ready=("False", "AccessDenied", "x"), stalled=("AccessDenied", "no")),
        ("stalled", "AccessDenied", "no"),
    ),
    "suspended": (
        kustomization(suspend=True),
        ("stalled", "Suspended", "Kustomization development is suspended: Flux leaves it alone"),
    ),
    "a source": (source(), ("ready", "Succeeded", "stored artifact for revision 'main@sha1:...'")),
    "a source that cannot fetch": (
        source(ready=("False", "GitOperationFailed", "authentication required")),
        ("failed", "GitOperationFailed", "authentication required"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_state_reason_and_message(name: str) -> None:
    found, expected = CASES[name]
    status = resource_status(found)
    assert (status.status, status.reason, status.message) == expected


def test_revisions_of_a_kustomization() -> None:
    status = resource_status(progressing(R))
    assert status.last_applied_revision == f"main@sha1:{OLD}"
    assert status.last_attempted_revision == f"main@sha1:{R}"


def test_a_source_has_what_its_artifact_has() -> None:
    status = resource_status(source(R))
    assert status.last_applied_revision == status.last_attempted_revision == f"main@sha1:{R}"


def test_nothing_yet() -> None:
    assert resource_status(NEW) == ResourceStatus(status="pending")
