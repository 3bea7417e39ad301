"""The states of a HelmRelease, as the design has them; not run against helm-controller, only held to its schema."""

from datetime import timedelta
from typing import Any

import pytest

from bot.core.settling import (
    Facts,
    Fail,
    NeedRelation,
    Relation,
    RequestKustomization,
    RequestSource,
    Step,
    Succeed,
    Supersede,
    SwitchSource,
    TimeOut,
    Wait,
)
from bot.core.settling_helm import chart_place, settle, settle_elsewhere
from tests.core_flux.objects import LATER, OLD, START, TOKEN, R, condition, facts, source

NOW = "2026-11-22T08:01:00.000000Z"
VERSION = f"1.2.0+{R[:12]}"


UPGRADE = f"Helm upgrade failed for release web/web with chart web@{VERSION}: timed out waiting for the condition"
SHOWN = "Helm upgrade failed: timed out waiting for the condition"


def version(commit: str) -> str:
    return f"1.2.0+{commit[:12]}"


def chart(
    made_of: str | None = R,
    *,
    ready: tuple[str, str, str] = ("True", "ChartPackageSucceeded", "packaged 'web' chart"),
    seen: str = R,
    stalled: tuple[str, str] | None = None,
    updated: str = "2026-11-22T07:00:00Z",
) -> dict[str, Any]:
    conditions = [condition("Ready", *ready, 1)]
    if stalled:
        conditions.append(condition("Stalled", "True", *stalled, 1))
    status: dict[str, Any] = {"conditions": conditions, "observedSourceArtifactRevision": f"main@sha1:{seen}"}
    if made_of is not None:
        status["artifact"] = {"revision": version(made_of), "lastUpdateTime": updated}
    return {"kind": "HelmChart", "metadata": {"name": "web", "generation": 1}, "status": status}


def release(
    deployed: str | None = R,
    *,
    attempted: str | None = None,
    ready: tuple[str, str, str] | None = ("True", "UpgradeSucceeded", "Helm upgrade succeeded"),
    reconciling: tuple[str, str] | None = None,
    stalled: tuple[str, str] | None = None,
    how: str = "deployed",
    generation: int = 2,
    observed: int | None = None,
    condition_observed: int | None = None,
    suspend: bool = False,
    source: str = "branch-main",
    number: int | None = None,
    handled: str | None = None,
    spec: dict[str, Any] | None = None,
) -> dict[str, Any]:
    own = generation if condition_observed is None else condition_observed
    conditions = [condition("Ready", *ready, own)] if ready else []
    if reconciling:
        conditions.append(condition("Reconciling", "True", *reconciling, own))
    if stalled:
        conditions.append(condition("Stalled", "True", *stalled, own))
    status: dict[str, Any] = {
        "conditions": conditions,
        "observedGeneration": generation if observed is None else observed,
        "helmChart": "project-1/project-1-web",
    }
    if deployed is not None:
        status["history"] = [{"chartVersion": version(deployed), "status": how}, {"chartVersion": "1.1.0"}]
    if attempted or deployed:
        status["lastAttemptedRevision"] = version(attempted or deployed or "")
    if handled:
        status["lastHandledReconcileAt"] = handled
    wanted = {"chart": {"spec": {"sourceRef": {"kind": "GitRepository", "name": source}}}} | (spec or {})
    return {
        "kind": "HelmRelease",
        "metadata": {
            "name": "web",
            "generation": generation,
            "annotations": {"sluice/deployment": str(number)} if number is not None else {},
        },
        "spec": wanted | ({"suspend": True} if suspend else {}),
        "status": status,
    }


def failed(reason: str, message: str, **more: Any) -> dict[str, Any]:
    return release(OLD, attempted=R, ready=("False", reason, message), **more)


CASES: dict[str, tuple[Facts, dict[str, Any] | None, Step]] = {
    "live": (facts(kustomization=release()), chart(), Succeed(None, True)),
    "live, but nobody waited for its health": (
        facts(kustomization=release(spec={"upgrade": {"disableWait": True}})),
        chart(),
        Succeed(None, False),
    ),
    "no release yet": (facts(kustomization=None), None, Wait("waiting for the HelmRelease to exist")),
    "no chart yet": (facts(kustomization=release(OLD)), None, Wait("waiting for the HelmChart to exist")),
    "the source first": (facts(kustomization=release(OLD), source_token=None), chart(OLD), RequestSource(NOW)),
    "the source has not fetched": (
        facts(source=source(OLD, handled="2026-11-22T07:59:00Z"), kustomization=release(OLD)),
        chart(OLD),
        Wait("Flux is fetching"),
    ),
    "the source cannot be fetched": (
        facts(source=source(OLD, ready=("False", "GitOperationFailed", "no access")), kustomization=release(OLD)),
        chart(OLD),
        Fail("source_failed", "no access"),
    ),
    "another source": (
        facts(kustomization=release(OLD, source="pin-web")),
        chart(),
        SwitchSource(),
    ),
    "the chart is packaged from the old commit": (
        facts(kustomization=release(OLD)),
        chart(OLD, seen=OLD),
        Wait("Flux is packaging the chart"),
    ),
    "the chart cannot be packaged": (
        facts(kustomization=release(OLD)),
        chart(OLD, ready=("False", "ChartPackageError", "no Chart.yaml")),
        Fail("build_failed", "no Chart.yaml"),
    ),
    "a failure of the old commit's chart says nothing": (
        facts(kustomization=release(OLD)),
        chart(OLD, ready=("False", "ChartPackageError", "no Chart.yaml"), seen=OLD),
        Wait("Flux is packaging the chart"),
    ),
    "the chart stalls": (
        facts(kustomization=release(OLD)),
        chart(OLD, stalled=("InvalidChartReference", "invalid path")),
        Fail("stalled", "invalid path"),
    ),
    "the new chart was only just packaged: Flux hands it on": (
        facts(kustomization=release(OLD)),
        chart(updated="2026-11-22T08:00:59Z"),
        Wait("Flux has packaged the chart", again=0.5),
    ),
    "it did not hand it on": (facts(kustomization=release(OLD)), chart(), RequestKustomization(NOW)),
    "asked already": (
        facts(kustomization=release(OLD), kustomization_token=TOKEN),
        chart(),
        Wait("Flux is applying"),
    ),
    "it upgrades": (
        facts(
            kustomization=release(
                OLD, attempted=R, ready=("Unknown", "Progressing", ""), reconciling=("Progressing", "Running upgrade")
            )
        ),
        chart(),
        Wait("Running upgrade"),
    ),
    "deployed, but Ready is of an older generation": (
        facts(kustomization=release(condition_observed=1)),
        chart(),
        Wait("Flux is applying"),
    ),
    "deployed, but the release was not observed": (
        facts(kustomization=release(observed=1)),
        chart(),
        Wait("Flux is applying"),
    ),
    "the newest release is not deployed": (
        facts(kustomization=release(how="failed")),
        chart(),
        Wait("Flux is applying"),
    ),
    "Ready, but with the chart of another commit": (
        facts(kustomization=release(OLD, attempted=R)),
        chart(),
        Wait("Flux is applying"),
    ),
    "an upgrade failed, Flux tries again": (
        facts(kustomization=failed("UpgradeFailed", UPGRADE)),
        chart(),
        Wait(f"failing, Flux retries: {SHOWN}", failing=True, failure_seen=f"{VERSION}@2026-11-22T08:00:03Z"),
    ),
    "the same failure is seen again": (
        facts(
            kustomization=failed("UpgradeFailed", UPGRADE, reconciling=("Progressing", "Fulfilling prerequisites")),
            failure_seen=f"{VERSION}@2026-11-22T08:00:03Z",
        ),
        chart(),
        Wait(f"failing, Flux retries: {SHOWN}", failing=True, failure_seen=f"{VERSION}@2026-11-22T08:00:03Z"),
    ),
    "a second failure is the end: what cannot be rendered Flux tries for ever": (
        facts(kustomization=failed("UpgradeFailed", UPGRADE), failure_seen=f"{VERSION}@2026-11-22T08:00:01Z"),
        chart(),
        Fail("apply_failed", SHOWN),
    ),
    "a failure of the version before, while Flux begins with this one": (
        facts(
            kustomization=failed(
                "UpgradeFailed",
                UPGRADE.replace(VERSION, version(OLD)),
                reconciling=("Progressing", "Running"),
            )
        ),
        chart(),
        Wait("Running"),
    ),
    "no room on a disk": (
        facts(kustomization=failed("UpgradeFailed", f"{UPGRADE}: no space left on device")),
        chart(),
        Fail("disk_full", f"{SHOWN}: no space left on device"),
    ),
    "it waits for another": (
        facts(kustomization=failed("DependencyNotReady", "dependency 'project-1/db' is not ready")),
        chart(),
        Wait("waiting: dependency 'project-1/db' is not ready"),
    ),
    "Flux gave up: stalled is final": (
        facts(
            kustomization=failed(
                "RollbackSucceeded", "Helm rollback succeeded", stalled=("RetriesExceeded", "Failed to upgrade")
            )
        ),
        chart(),
        Fail("stalled", "Failed to upgrade"),
    ),
    "it gave up on the old chart; the new one is a new try": (
        facts(kustomization=release(OLD, ready=("False", "UpgradeFailed", "x"), stalled=("RetriesExceeded", "x"))),
        chart(),
        RequestKustomization(NOW),
    ),
    "a suspended release": (
        facts(kustomization=release(OLD, suspend=True)),
        chart(),
        Fail("suspended", "HelmRelease web is suspended: Flux leaves it alone"),
    ),
    "a suspended source": (
        facts(source=source(OLD, suspend=True), kustomization=release(OLD)),
        chart(),
        Fail("suspended", "GitRepository branch-main is suspended: Flux leaves it alone"),
    ),
    "a later commit is there: how does it relate?": (
        facts(source=source(LATER), kustomization=release(LATER)),
        chart(LATER),
        NeedRelation(LATER),
    ),
    "live as a part of it": (
        facts(source=source(LATER), kustomization=release(LATER), relations={LATER: Relation.CONTAINS}),
        chart(LATER),
        Succeed(LATER, True),
    ),
    "overtaken by it": (
        facts(source=source(LATER), kustomization=release(LATER), relations={LATER: Relation.CHANGED}),
        chart(LATER),
        Supersede(LATER),
    ),
    "the pin was moved by another hand": (
        facts(
            source_name="pin-web",
            pinned=True,
            source=source(OLD, name="pin-web", pin=OLD, number=7),
            kustomization=release(OLD, source="pin-web"),
        ),
        chart(OLD),
        Fail("gate_broken", f"the pin pin-web was moved by another hand: it says commit {OLD[:7]}"),
    ),
    "too late": (
        facts(kustomization=release(OLD), now=START + timedelta(minutes=6)),
        None,
        TimeOut("not ready within 6m; last: waiting for the HelmChart to exist"),
    ),
    "live at the last moment": (
        facts(kustomization=release(), now=START + timedelta(minutes=6)),
        chart(),
        Succeed(None, True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_chart_in_the_repository(name: str) -> None:
    known, made, step = CASES[name]
    assert settle(known, made) == step


ELSEWHERE: dict[str, tuple[dict[str, Any] | None, Step]] = {
    "no release yet": (None, Wait("waiting for the HelmRelease to exist")),
    "not written yet": (release(number=6), Wait("waiting for the HelmRelease to be written")),
    "written and deployed": (release(number=7), Succeed(None, True)),
    "a newer deployment wrote it": (release(number=8), Supersede(LATER)),
    "it upgrades": (
        release(number=7, ready=("Unknown", "Progressing", ""), reconciling=("Progressing", "Running upgrade")),
        Wait("Running upgrade"),
    ),
    "Ready is of before the write": (release(number=7, condition_observed=1), Wait("Flux is applying")),
    "the chart cannot be had": (
        release(number=7, ready=("False", "ArtifactFailed", "no chart version found for web-9.9.9")),
        Wait("waiting: no chart version found for web-9.9.9"),
    ),
    "Flux gave up": (
        release(number=7, ready=("False", "UpgradeFailed", "x"), stalled=("RetriesExceeded", "Failed to upgrade")),
        Fail("stalled", "Failed to upgrade"),
    ),
    "suspended": (
        release(number=7, suspend=True),
        Fail("suspended", "HelmRelease web is suspended: Flux leaves it alone"),
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_chart_from_elsewhere(name: str) -> None:
    found, step = ELSEWHERE[name]
    assert settle_elsewhere(facts(kustomization=found, source=None, newer=LATER)) == step


def image(
    digest: str = "sha256:new",
    *,
    ready: tuple[str, str, str] = ("True", "Succeeded", "stored artifact"),
    generation: int = 1,
    stalled: tuple[str, str] | None = None,
) -> dict[str, Any]:
    conditions = [condition("Ready", *ready, 1)]
    if stalled:
        conditions.append(condition("Stalled", "True", *stalled, 1))
    status = {"conditions": conditions, "artifact": {"revision": f"1.2.0@{digest}"}}
    metadata = {"name": "chart-web", "generation": generation}
    return {"kind": "OCIRepository", "metadata": metadata, "spec": {}, "status": status}


def pulled(digest: str) -> dict[str, Any]:
    found = release(number=3)
    found["status"]["history"][0]["ociDigest"] = digest
    return found


@pytest.mark.parametrize(
    ("source", "release", "step"),
    [
        (image(), pulled("sha256:new"), Succeed(None, True)),
        (image(), pulled("sha256:old"), Wait("Flux has fetched the chart")),
        (image(generation=2), pulled("sha256:new"), Wait("Flux is fetching the chart")),
        (
            image(ready=("False", "OCIArtifactPullFailed", "not found")),
            pulled("sha256:old"),
            Wait("failing, Flux retries: not found", failing=True, failure_seen="not found"),
        ),
        (image(stalled=("URLInvalid", "no address")), pulled("sha256:old"), Fail("source_failed", "no address")),
    ],
)
def test_a_chart_that_is_an_image(source: dict[str, Any], release: dict[str, Any], step: Step) -> None:
    """Another version changes the source only: it is live when the release has what the source holds."""
    assert settle_elsewhere(facts(kustomization=release, source=source, number=3)) == step


def test_where_the_chart_is() -> None:
    """Flux names its HelmChart in the release's status."""
    assert chart_place(release()) == ("project-1", "project-1-web")
    assert chart_place({"status": {}}) is None
    assert chart_place(None) is None
