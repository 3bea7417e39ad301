"""kustomize-controller 1.9: a Kustomization from its source's artifact to Ready, step by step and word for word."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import posixpath
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from bot.sandbox.cluster import ApiError, SandboxCluster
from bot.sandbox.cluster_apply import now
from bot.sandbox.cluster_errors import Json
from bot.sandbox.flux_apply import MANAGER, Account, Applier, ApplyError, inventory, listed
from bot.sandbox.flux_build import BuildError, build, folder, unsupported
from bot.sandbox.flux_health import Changes, state
from bot.sandbox.flux_queue import Job, Key, Retry
from bot.sandbox.flux_source import Artifacts
from bot.sandbox.flux_status import Progress, condition
from bot.sandbox.flux_text import duration, named, seconds

DEPENDENCY_INTERVAL = 30.0
_HISTORY = 5
_GATE_CANCELS = "HealthCheckCanceled"


class Failed(Exception):
    """A step failed: the reason and message of Ready=False, and when to try again."""

    def __init__(self, reason: str, message: str, retry: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry = retry


@dataclass(slots=True)
class Plan:
    """What one reconciliation found out on its way."""

    revision: str
    started: float
    root: str
    digest: str = ""


class KustomizeController:
    """Reconciles Kustomizations."""

    def __init__(
        self,
        cluster: SandboxCluster,
        artifacts: Artifacts,
        changes: Changes,
        *,
        cancel_health_checks: bool,
        shortest_timeout: float,
    ) -> None:
        self._cluster = cluster
        self._artifacts = artifacts
        self._changes = changes
        self._cancels = cancel_health_checks
        self._shortest_timeout = shortest_timeout

    async def reconcile(self, key: Key, job: Job) -> float | None:
        obj = self._cluster.get("Kustomization", *key)
        if obj is None:
            return None
        progress = Progress(self._cluster, obj, MANAGER)
        if progress.meta.get("deletionTimestamp"):
            self._finalize(progress)
            return None
        progress.add_finalizer()
        if progress.spec.get("suspend"):
            _finish(progress)
            return None
        retry: float | None
        try:
            await self._steps(progress, job)
            retry = seconds(progress.spec["interval"])
        except Failed as failure:
            progress.set("Ready", "False", failure.reason, str(failure))
            retry = failure.retry if failure.retry is not None else _retry_interval(progress.spec)
        _finish(progress)
        return retry

    async def _steps(self, progress: Progress, job: Job) -> None:
        artifact = self._source(progress)
        self._check_dependencies(progress, artifact["revision"])
        plan = Plan(artifact["revision"], time.monotonic(), f"/tmp/kustomization-{random.randrange(10**9, 4 * 10**9)}")  # noqa: S108, S311
        limit = self._timeout(progress.spec)
        self._stage(progress, "Fetching manifests", plan, limit, ready="Reconciliation in progress")
        files = self._files(progress, plan.revision)
        path = folder(files, progress.spec.get("path") or "./")
        if path is None:
            wanted = posixpath.normpath(f"{plan.root}/{posixpath.normpath('/' + progress.spec['path'])}")
            text = f"kustomization path not found: stat {wanted}: no such file or directory"
            raise Failed("ArtifactFailed", text)
        progress.status["lastAttemptedRevision"] = plan.revision
        self._stage(progress, "Building manifests", plan, limit)
        objects = self._build(progress, plan, files, path)
        self._stage(progress, "Detecting drift", plan, limit)
        self._apply(progress, plan, objects)
        await asyncio.sleep(0)
        await self._check_health(progress, plan, objects, job, limit)
        progress.status["lastAppliedRevision"] = plan.revision
        progress.set("Ready", "True", "ReconciliationSucceeded", f"Applied revision: {plan.revision}")
        _remember(progress, plan, "ReconciliationSucceeded")

    def _source(self, progress: Progress) -> Json:
        """The artifact of the source."""
        ref = progress.spec["sourceRef"]
        kind, name = ref.get("kind"), ref.get("name")
        if kind != "GitRepository":
            raise Failed("ArtifactFailed", f"source `{kind}/{name}` kind '{kind}' not supported by the sandbox")
        found = self._cluster.get(kind, *_source_key(progress.obj))
        if found is None:
            raise Failed("ArtifactFailed", f'GitRepository.source.toolkit.fluxcd.io "{name}" not found')
        artifact = (found.get("status") or {}).get("artifact")
        if not artifact:
            text = f"Source artifact not found, retrying in {duration(DEPENDENCY_INTERVAL)}"
            raise Failed("ArtifactFailed", text, DEPENDENCY_INTERVAL)
        return dict(artifact)

    def _files(self, progress: Progress, revision: str) -> Mapping[str, bytes]:
        files = self._artifacts.get(_source_key(progress.obj), revision)
        if files is None:
            text = f"Source is not ready, artifact not found, retrying in {duration(DEPENDENCY_INTERVAL)}"
            raise Failed("ArtifactFailed", text, DEPENDENCY_INTERVAL)
        return files

    def _check_dependencies(self, progress: Progress, revision: str) -> None:
        for ref in progress.spec.get("dependsOn") or []:
            key = (ref.get("namespace") or progress.namespace, ref["name"])
            name = "/".join(key)
            found = self._cluster.get("Kustomization", *key)
            if found is None:
                missing = f'kustomizations.kustomize.toolkit.fluxcd.io "{key[1]}" not found'
                problem = f"dependency '{name}' not found: {missing}"
            elif not _ready(found):
                problem = f"dependency '{name}' is not ready"
            elif (
                _source_key(found) == _source_key(progress.obj)
                and found["status"].get("lastAppliedRevision") != revision
            ):
                problem = f"dependency '{name}' revision is not up to date"
            else:
                continue
            raise Failed("DependencyNotReady", problem, DEPENDENCY_INTERVAL)

    def _stage(self, progress: Progress, doing: str, plan: Plan, limit: float, *, ready: str = "") -> None:
        text = f"{doing} for revision {plan.revision} with a timeout of {duration(limit)}"
        if ready:
            progress.set("Ready", "Unknown", "Progressing", ready)
        progress.set("Reconciling", "True", "Progressing", text)
        progress.save()

    def _build(self, progress: Progress, plan: Plan, files: Mapping[str, bytes], path: str) -> list[Json]:
        field = unsupported(progress.spec)
        if field:
            text = f"the sandbox does not support spec.{field}: it applies plain YAML and resources only"
            raise Failed("BuildFailed", text)
        try:
            objects = build(files, path, progress.spec.get("targetNamespace", ""), plan.root)
        except BuildError as problem:
            raise Failed("BuildFailed", str(problem)) from None
        plan.digest = f"sha256:{hashlib.sha256(msgspec.json.encode(objects)).hexdigest()}"
        return objects

    def _apply(self, progress: Progress, plan: Plan, objects: list[Json]) -> None:
        """Apply, then prune what the last inventory had and this one has not."""
        applier = self._applier(progress)
        before = listed(progress.status.get("inventory"))
        try:
            applied = applier.apply(objects)
        except ApplyError as problem:
            _remember(progress, plan, "ReconciliationFailed")
            raise Failed("ReconciliationFailed", str(problem)) from None
        progress.status["inventory"] = inventory(applied)
        kept = {entry["id"] for entry in progress.status["inventory"]["entries"]}
        stale = [obj for obj in before if inventory([obj])["entries"][0]["id"] not in kept]
        if not progress.spec.get("prune") or not stale:
            return
        try:
            applier.prune(stale)
        except ApplyError as problem:
            progress.status["inventory"]["entries"] += inventory(problem.args[1])["entries"]
            _remember(progress, plan, "PruneFailed")
            raise Failed("PruneFailed", str(problem.args[0])) from None

    def _applier(self, progress: Progress) -> Applier:
        account = Account(self._cluster, progress.namespace, progress.spec.get("serviceAccountName", ""))
        return Applier(self._cluster, account, (progress.namespace, progress.name))

    async def _check_health(self, progress: Progress, plan: Plan, objects: list[Json], job: Job, limit: float) -> None:
        watched = objects if progress.spec.get("wait") else progress.spec.get("healthChecks") or []
        refs = [ref for ref in map(_reference, watched) if ref != ("Kustomization", progress.namespace, progress.name)]
        if not refs:
            progress.drop("Healthy")
            return
        text = f"Running health checks for revision {plan.revision} with a timeout of {duration(limit)}"
        progress.set("Reconciling", "True", "Progressing", text)
        progress.set("Healthy", "Unknown", "Progressing", text)
        progress.save()
        started = time.monotonic()
        problem = await self._wait(refs, job, limit)
        took = duration(time.monotonic() - started)
        if problem == _GATE_CANCELS:
            raise Failed(_GATE_CANCELS, f"New reconciliation triggered by {job.trigger}", 0.0)
        if problem:
            progress.set("Healthy", "False", "HealthCheckFailed", problem)
            _remember(progress, plan, "HealthCheckFailed")
            raise Failed("HealthCheckFailed", f"health check failed after {took}: {problem}")
        progress.set("Healthy", "True", "Succeeded", f"Health check passed in {took}")
        progress.save()

    async def _wait(self, refs: list[tuple[str, str, str]], job: Job, limit: float) -> str | None:
        """None when all are healthy, else what is wrong."""
        late = False
        deadline = time.monotonic() + limit
        with self._changes.watched() as changed:
            while True:
                states = {ref: state(self._cluster.get(*ref)) for ref in refs}
                unhealthy = [ref for ref in refs if states[ref] != "Current"]
                if not unhealthy:
                    return None
                if late or all(states[ref] == "Failed" for ref in unhealthy):
                    why = "timeout waiting for" if late else "failed early due to stalled resources"
                    shown = ", ".join(f"{_text(ref)} status: '{states[ref]}'" for ref in unhealthy)
                    return f"{why}: [{shown}]"
                if self._cancels and job.again.is_set():
                    return _GATE_CANCELS
                changed.clear()
                late = not await _any(changed, job.again if self._cancels else None, deadline - time.monotonic())

    def _timeout(self, spec: Json) -> float:
        wanted = seconds(spec["timeout"]) if spec.get("timeout") else max(30.0, seconds(spec["interval"]) - 30.0)
        return max(wanted, self._shortest_timeout)

    def _finalize(self, progress: Progress) -> None:
        """At deletion: prune as the policy says, then let go."""
        spec, entries = progress.spec, listed(progress.status.get("inventory"))
        policy = spec.get("deletionPolicy") or "MirrorPrune"
        prunes = policy in ("Delete", "WaitForTermination") or (policy == "MirrorPrune" and spec.get("prune"))
        account = Account(self._cluster, progress.namespace, spec.get("serviceAccountName", ""))
        if entries and prunes and not spec.get("suspend") and account.exists():
            try:
                self._applier(progress).prune(entries)
            except ApplyError as problem:
                _finish(progress)
                raise Retry(str(problem)) from None
        progress.remove_finalizer()


async def _any(changed: asyncio.Event, again: asyncio.Event | None, limit: float) -> bool:
    """Wait until one of them is set; False when the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in (changed, again) if event is not None]
    try:
        done, _ = await asyncio.wait(waits, timeout=max(0.0, limit), return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()


def _finish(progress: Progress) -> None:
    """What the controller writes at the end of every reconciliation, also of a suspended object."""
    progress.handled()
    ready = progress.get("Ready").get("status")
    if ready == "True":
        progress.drop("Reconciling")
        progress.observed()
    elif ready == "False":
        progress.retrying()
    with contextlib.suppress(ApiError):
        progress.save()


def _retry_interval(spec: Json) -> float:
    return seconds(spec.get("retryInterval") or spec["interval"])


def _source_key(obj: Json) -> Key:
    ref = obj["spec"]["sourceRef"]
    return (ref.get("namespace") or obj["metadata"]["namespace"], ref.get("name", ""))


def _ready(obj: Json) -> bool:
    current = obj["metadata"]["generation"] == obj["status"].get("observedGeneration")
    return current and condition(obj, "Ready").get("status") == "True"


def _reference(item: Json) -> tuple[str, str, str]:
    """An object of the build, or an entry of spec.healthChecks."""
    meta = item.get("metadata") or item
    return (item["kind"], meta.get("namespace", ""), meta["name"])


def _text(ref: tuple[str, str, str]) -> str:
    return named({"kind": ref[0], "metadata": {"namespace": ref[1], "name": ref[2]}})


def _remember(progress: Progress, plan: Plan, result: str) -> None:
    """`status.history`: one entry per digest and result's newest state, the newest first."""
    history: list[Json] = progress.status.setdefault("history", [])
    took = duration(round(time.monotonic() - plan.started, 6))
    old = next((entry for entry in history if entry["digest"] == plan.digest), None)
    entry = {
        "digest": plan.digest,
        "firstReconciled": old["firstReconciled"] if old else now(),
        "lastReconciled": now(),
        "lastReconciledDuration": took,
        "lastReconciledStatus": result,
        "metadata": {"revision": plan.revision},
        "totalReconciliations": (old["totalReconciliations"] if old else 0) + 1,
    }
    progress.status["history"] = [entry, *(item for item in history if item is not old)][:_HISTORY]
