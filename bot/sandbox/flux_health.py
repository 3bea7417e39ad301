"""Whether objects are healthy, as kstatus sees it; and the workloads that become so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from bot.sandbox.cluster import ApiError, SandboxCluster
from bot.sandbox.cluster_apply import now
from bot.sandbox.cluster_errors import Json
from bot.sandbox.flux_queue import Job, Key
from bot.sandbox.flux_status import condition

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
READY_AFTER = 0.05
_MANAGER = "kube-controller-manager"


class Changes:
    """Wakes who waits for something in the cluster to change."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def notify(self) -> None:
        for event in self._waiting:
            event.set()

    @contextlib.contextmanager
    def watched(self) -> Any:
        """An event that is set at every change."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            yield event
        finally:
            self._waiting.discard(event)


def state(obj: Json | None) -> str:
    """NotFound, Terminating, InProgress, Failed or Current."""
    if obj is None:
        return "NotFound"
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = obj.get("status") or {}
    generation = obj["metadata"].get("generation")
    if "observedGeneration" in status and status["observedGeneration"] != generation:
        return "InProgress"
    if obj["kind"] in WORKLOADS:
        wanted = (obj.get("spec") or {}).get("replicas", 1)
        return "Current" if status.get("availableReplicas", -1 if wanted else 0) >= wanted else "InProgress"
    if obj["kind"] == "Job":
        if condition(obj, "Failed").get("status") == "True":
            return "Failed"
        return "Current" if condition(obj, "Complete").get("status") == "True" else "InProgress"
    if condition(obj, "Stalled").get("status") == "True":
        return "Failed"
    waiting = condition(obj, "Reconciling").get("status") == "True"
    return "InProgress" if waiting or condition(obj, "Ready").get("status", "True") != "True" else "Current"


class Workloads:
    """Stands in for the controllers and the kubelet: a workload is ready a moment after it was applied."""

    def __init__(self, cluster: SandboxCluster, ready_after: float = READY_AFTER) -> None:
        self._cluster = cluster
        self._ready_after = ready_after

    async def reconcile(self, kind: str, key: Key, job: Job) -> float | None:
        obj = self._cluster.get(kind, *key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        broken = self._broken(obj)
        if not broken:
            self._write(obj, ready=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ready_after):
                    await job.again.wait()
                    return None
        self._write(obj, ready=not broken)
        return None

    def _broken(self, obj: Json) -> bool:
        """An image tagged as broken, or a node that does not exist."""
        pod = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
        for container in pod.get("containers") or []:
            tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
            if "broken" in tag:
                return True
        wanted = pod.get("nodeSelector") or {}
        nodes = [node["metadata"].get("labels") or {} for node in self._cluster.list("Node")]
        return bool(wanted) and not any(wanted.items() <= labels.items() for labels in nodes)

    def _write(self, obj: Json, *, ready: bool) -> None:
        kind, meta = obj["kind"], obj["metadata"]
        status = _job_status(ready) if kind == "Job" else _replica_status(obj, ready)
        with contextlib.suppress(ApiError):
            self._cluster.set_status(kind, meta.get("namespace", ""), meta["name"], status, _MANAGER)


def _replica_status(obj: Json, ready: bool) -> Json:
    wanted = (obj.get("spec") or {}).get("replicas", 1)
    status: Json = {"observedGeneration": obj["metadata"].get("generation", 1), "replicas": wanted}
    status |= {"updatedReplicas": wanted}
    if ready:
        status |= {"readyReplicas": wanted, "availableReplicas": wanted}
    else:
        status["unavailableReplicas"] = wanted
    minimum = "Deployment has minimum availability." if ready else "Deployment does not have minimum availability."
    reason = "MinimumReplicasAvailable" if ready else "MinimumReplicasUnavailable"
    progress = "NewReplicaSetAvailable" if ready else "ReplicaSetUpdated"
    status["conditions"] = [
        _condition("Available", "True" if ready else "False", reason, minimum),
        _condition("Progressing", "True", progress, f'ReplicaSet "{obj["metadata"]["name"]}" is progressing.'),
    ]
    return status


def _job_status(ready: bool) -> Json:
    if not ready:
        return {"active": 1, "startTime": now()}
    done = _condition("Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
    return {"succeeded": 1, "startTime": now(), "completionTime": now(), "conditions": [done]}


def _condition(kind: str, status: str, reason: str, message: str) -> Json:
    found = {"type": kind, "status": status, "reason": reason, "message": message}
    return {**found, "lastTransitionTime": now(), "lastUpdateTime": now()}
