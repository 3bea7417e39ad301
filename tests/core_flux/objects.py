"""Objects as Flux's own controllers leave them, in their words."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.settling import Facts

R = "a" * 40  # the deployment's revision
OLD = "0" * 40  # what was live before
LATER = "c" * 40  # what the branch got after it
START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
TOKEN = "2026-11-22T08:00:01.000000Z"
SECOND = "2026-11-22T08:00:02.000000Z"

PATH_NOT_FOUND = (
    "kustomization path not found: stat /tmp/kustomization-2263452971/deploy/dev: no such file or directory"
)
BUILD_FAILED = (
    "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'web.yaml': "
    "open /tmp/kustomization-312/deploy/development/web.yaml: no such file or directory': must build at directory: "
    "not a valid directory: evalsymlink failure on '/tmp/kustomization-312/deploy/development/web.yaml' : "
    "lstat /tmp/kustomization-312/deploy/development/web.yaml: no such file or directory"
)
FORBIDDEN = (
    'Deployment/web-dev/web dry-run failed (Forbidden): deployments.apps "web" is forbidden: User '
    '"system:serviceaccount:project-abcd1234:sluice-development" cannot patch resource "deployments" in API group '
    '"apps" in the namespace "web-dev"\n'
)
HEALTH_FAILED = "health check failed after 5m0.02s: timeout waiting for: [Deployment/web-dev/web status: 'InProgress']"
CONFLICT = (
    'ConfigMap/web-dev/web apply failed: Operation cannot be fulfilled on configmaps "web": the object has been '
    "modified; please apply your changes to the latest version and try again"
)


def condition(
    kind: str, status: str, reason: str, message: str, generation: int, at: str = "08:00:03"
) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": f"2026-11-22T{at}Z",
    }


def source(
    held: str | None = R,
    *,
    name: str = "branch-main",
    handled: str | None = TOKEN,
    requested: str | None = TOKEN,
    ready: tuple[str, str, str] = ("True", "Succeeded", "stored artifact for revision 'main@sha1:...'"),
    generation: int = 1,
    observed: int | None = None,
    pin: str | None = None,
    number: int | None = None,
    suspend: bool = False,
    updated: str = "2026-11-22T07:00:00Z",
) -> dict[str, Any]:
    """A GitRepository; with `pin` an environment's own."""
    annotations = {"reconcile.fluxcd.io/requestedAt": requested} if requested else {}
    if number is not None:
        annotations["sluice/deployment"] = str(number)
    seen = generation if observed is None else observed
    status: dict[str, Any] = {"observedGeneration": seen, "conditions": [condition("Ready", *ready, seen)]}
    if held is not None:
        prefix = "sha1" if pin else "main@sha1"
        status["artifact"] = {"revision": f"{prefix}:{held}", "lastUpdateTime": updated}
    if handled is not None:
        status["lastHandledReconcileAt"] = handled
    ref = {"branch": "main"} | ({"commit": pin} if pin else {})
    return {
        "kind": "GitRepository",
        "metadata": {"name": name, "generation": generation, "annotations": annotations},
        "spec": {"ref": ref} | ({"suspend": True} if suspend else {}),
        "status": status,
    }


def kustomization(
    applied: str | None = R,
    *,
    attempted: str | None = None,
    name: str = "branch-main",
    ready: tuple[str, str, str] | None = ("True", "ReconciliationSucceeded", "Applied revision: main@sha1:..."),
    reconciling: tuple[str, str] | None = None,
    stalled: tuple[str, str] | None = None,
    generation: int = 2,
    observed: int | None = None,
    condition_observed: int | None = None,
    handled: str | None = None,
    requested: str | None = None,
    at: str = "08:00:03",
    suspend: bool = False,
    wait: bool = True,
) -> dict[str, Any]:
    """A Kustomization; `attempted` is what was applied unless said otherwise."""
    conditions = []
    own = generation if condition_observed is None else condition_observed
    if ready is not None:
        conditions.append(condition("Ready", *ready, own, at))
    if reconciling is not None:
        conditions.append(condition("Reconciling", "True", *reconciling, own, at))
    if stalled is not None:
        conditions.append(condition("Stalled", "True", *stalled, own, at))
    status: dict[str, Any] = {
        "conditions": conditions,
        "observedGeneration": generation if observed is None else observed,
    }
    for field, commit in (("lastAppliedRevision", applied), ("lastAttemptedRevision", attempted or applied)):
        if commit is not None:
            status[field] = f"main@sha1:{commit}"
    if handled is not None:
        status["lastHandledReconcileAt"] = handled
    return {
        "kind": "Kustomization",
        "metadata": {
            "name": "development",
            "generation": generation,
            "annotations": {"reconcile.fluxcd.io/requestedAt": requested or handled} if requested or handled else {},
        },
        "spec": {"wait": wait, "sourceRef": {"kind": "GitRepository", "name": name}}
        | ({"suspend": True} if suspend else {}),
        "status": status,
    }


def failed(reason: str, message: str, *, attempted: str | None = R, **more: Any) -> dict[str, Any]:
    """A Kustomization after a failed attempt: observedGeneration is as the last success left it."""
    options: dict[str, Any] = {"reconciling": ("ProgressingWithRetry", "Detecting drift"), "observed": 1} | more
    return kustomization(OLD, attempted=attempted, ready=("False", reason, message), **options)


def progressing(attempted: str | None = R, text: str = "Running health checks", **more: Any) -> dict[str, Any]:
    """A Kustomization in the middle of an attempt."""
    ready = ("Unknown", "Progressing", "Reconciliation in progress")
    return kustomization(OLD, attempted=attempted, ready=ready, reconciling=("Progressing", text), **more)


def facts(**given: Any) -> Facts:
    """A deployment of R that follows main; it asked the source, and five minutes are left."""
    usual: dict[str, Any] = {
        "revision": R,
        "source_name": "branch-main",
        "pinned": False,
        "number": 7,
        "source": source(),
        "kustomization": kustomization(),
        "source_token": TOKEN,
        "started": START,
        "deadline": START + timedelta(minutes=6),
        "now": START + timedelta(minutes=1),
    }
    return Facts(**(usual | given))
