"""A small Flux for the sandbox cluster: it fetches GitRepositories and applies Kustomizations, with Flux's own words.

HelmReleases work in their main lines, by templates that name values and nothing else.

It reads plain YAML and `resources:` only, and its health checks look at once instead of every five seconds.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any

from bot.sandbox.cluster import Event, SandboxCluster
from bot.sandbox.cluster_errors import Json
from bot.sandbox.flux_charts import ChartController, Shelf
from bot.sandbox.flux_health import READY_AFTER, WORKLOADS, Changes, Workloads
from bot.sandbox.flux_helm import HelmController
from bot.sandbox.flux_kustomize import KustomizeController
from bot.sandbox.flux_queue import Key, WorkQueue
from bot.sandbox.flux_source import Artifacts, Fetch, SourceController
from bot.sandbox.flux_status import condition, requested
from bot.sandbox.git import Fetched, FetchError

__all__ = ["Fetch", "FetchError", "Fetched", "SandboxFlux"]

_RUN_KINDS = (*WORKLOADS, "Job")
_CHART_SOURCES = ("GitRepository", "HelmRepository")
_START_LIMIT = 10.0


class SandboxFlux:
    """The controllers, in a thread of their own, from `start` to `stop`.

    `cancel_health_checks` is the feature gate CancelHealthCheckOnNewRevision. `shortest_timeout` is the least time that
    health checks get (the real controller's is 30 s). `ready_after` is how long a workload takes to become ready.
    `charts` is what is kept elsewhere, by address.
    """

    def __init__(
        self,
        cluster: SandboxCluster,
        fetch: Fetch,
        *,
        cancel_health_checks: bool = True,
        shortest_timeout: float = 0.0,
        ready_after: float = READY_AFTER,
    ) -> None:
        self._cluster = cluster
        self._changes = Changes()
        artifacts = Artifacts()
        self._source = SourceController(cluster, fetch, artifacts, self._restored)
        self._kustomize = KustomizeController(
            cluster,
            artifacts,
            self._changes,
            cancel_health_checks=cancel_health_checks,
            shortest_timeout=shortest_timeout,
        )
        self.charts: dict[str, Shelf] = {}
        self._packager = ChartController(cluster, artifacts, self.charts)
        self._helm = HelmController(cluster, self._packager, self._changes)
        self._workloads = Workloads(cluster, ready_after)
        self._queues: dict[str, WorkQueue] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Begin with what is there, then follow what changes."""
        if self._thread is not None:
            raise RuntimeError("already started")
        ready = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(ready,), name="sandbox-flux", daemon=True)
        self._thread.start()
        ready.wait(_START_LIMIT)

    def stop(self) -> None:
        """Stop in the middle of whatever is under way, as a killed controller does."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_START_LIMIT)
        self._thread = self._loop = None

    def __enter__(self) -> SandboxFlux:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _main(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._run(ready))
        finally:
            ready.set()

    async def _run(self, ready: threading.Event) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()  # an event belongs to the loop that it is first waited for in
        self._queues = {"GitRepository": WorkQueue(self._source.reconcile)}
        self._queues["Kustomization"] = WorkQueue(self._kustomize.reconcile)
        self._queues["HelmChart"] = WorkQueue(self._packager.chart)
        self._queues["HelmRepository"] = WorkQueue(self._packager.repository)
        self._queues["OCIRepository"] = WorkQueue(self._packager.image)
        self._queues["HelmRelease"] = WorkQueue(self._helm.reconcile)
        for kind in _RUN_KINDS:
            self._queues[kind] = WorkQueue(functools.partial(self._workloads.reconcile, kind))

        def hand_over(event: Event) -> None:
            if not self._stopping.is_set():
                loop.call_soon_threadsafe(self._route, event)

        unsubscribe = self._cluster.subscribe(hand_over)
        for kind in self._queues:
            for obj in self._cluster.list(kind):
                self._enqueue(kind, obj)
        ready.set()
        await self._stopping.wait()
        unsubscribe()
        stops: list[Coroutine[Any, Any, None]] = [queue.stop() for queue in self._queues.values()]
        await asyncio.gather(*stops)

    def _enqueue(self, kind: str, obj: Json, trigger: str = "") -> None:
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        self._queues[kind].add(key, trigger or f"{kind}/{key[0]}/{key[1]}")

    def _route(self, event: Event) -> None:
        """One change of the cluster, to the controllers that it concerns."""
        kind = event.kind.kind
        self._changes.notify()
        if kind in self._queues and _asks(event):
            self._enqueue(kind, event.obj)
        if kind == "GitRepository":
            self._new_revision(event)
        if kind in _CHART_SOURCES and event.type != "DELETED" and _news(event):
            self._charts_of(event)
        if kind in ("HelmChart", "OCIRepository") and event.type != "DELETED" and _news(event):
            self._releases_of(event)
        if kind == "Kustomization":
            self._dependents(event)

    def _new_revision(self, event: Event) -> None:
        """Reconcile what follows a source, when it holds something new."""
        revision = _revision(event.obj)
        if event.type == "DELETED" or not revision or (event.old and _revision(event.old) == revision):
            return
        trigger = f"GitRepository/{event.namespace}/{event.name}"
        for obj in self._followers(event.namespace, event.name):
            attempted = (obj.get("status") or {}).get("lastAttemptedRevision")
            if not (condition(obj, "Ready").get("status") == "True" and attempted == revision):
                self._enqueue("Kustomization", obj, trigger)

    def _charts_of(self, event: Event) -> None:
        """Package again what is made of a source that holds something new."""
        for obj in self._cluster.list("HelmChart", event.namespace):
            ref = obj["spec"]["sourceRef"]
            if (ref["kind"], ref["name"]) == (event.kind.kind, event.name):
                self._enqueue("HelmChart", obj)

    def _releases_of(self, event: Event) -> None:
        """Release what a chart that is new, or ready, is for."""
        for obj in self._cluster.list("HelmRelease", event.namespace):
            chart = (obj.get("status") or {}).get("helmChart", "").partition("/")[2]
            ref = obj["spec"].get("chartRef") or {"kind": "HelmChart", "name": chart}
            if (ref["kind"], ref["name"]) == (event.kind.kind, event.name):
                self._enqueue("HelmRelease", obj)

    def _restored(self, key: Key) -> None:
        """A new Flux has fetched again what the one before it had: look again who missed it."""
        for obj in self._followers(*key):
            if condition(obj, "Ready").get("reason") == "ArtifactFailed":
                self._enqueue("Kustomization", obj)

    def _followers(self, namespace: str, name: str) -> list[Json]:
        found = []
        for obj in self._cluster.list("Kustomization"):
            ref = (obj.get("spec") or {}).get("sourceRef") or {}
            if (ref.get("namespace") or obj["metadata"]["namespace"], ref.get("name")) == (namespace, name):
                found.append(obj)
        return found

    def _dependents(self, event: Event) -> None:
        """A real Flux looks again after 30 s; here a dependency that has become ready says so."""
        if condition(event.obj, "Ready").get("status") != "True":
            return
        for obj in self._cluster.list("Kustomization"):
            if condition(obj, "Ready").get("reason") != "DependencyNotReady":
                continue
            home = obj["metadata"]["namespace"]
            wanted = {(ref.get("namespace") or home, ref["name"]) for ref in obj["spec"].get("dependsOn") or []}
            if (event.namespace, event.name) in wanted:
                self._enqueue("Kustomization", obj)


def _asks(event: Event) -> bool:
    """Whether a controller looks at its object: new, gone, another generation, or asked to."""
    if event.old is None or event.type == "DELETED":
        return True
    before, after = event.old["metadata"], event.obj["metadata"]
    return before.get("generation") != after.get("generation") or requested(event.old) != requested(event.obj)


def _news(event: Event) -> bool:
    """Whether a source holds something else than before."""
    return bool(_revision(event.obj)) and (event.old is None or _revision(event.old) != _revision(event.obj))


def _revision(obj: Json) -> str:
    return str(((obj.get("status") or {}).get("artifact") or {}).get("revision", ""))
