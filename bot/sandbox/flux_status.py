"""The status of a Flux object while it is reconciled: conditions as fluxcd/pkg/runtime sets them."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from bot.sandbox.cluster import ApiError, SandboxCluster
from bot.sandbox.cluster_apply import now
from bot.sandbox.cluster_errors import Json

REQUESTED = "reconcile.fluxcd.io/requestedAt"
FINALIZER = "finalizers.fluxcd.io"
_MAX_MESSAGE = 32768


def condition(obj: Json | None, kind: str) -> Json:
    """One condition of an object, or an empty mapping."""
    found = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((item for item in found if item["type"] == kind), {})


def requested(obj: Json) -> str:
    """The token of the newest reconcile request."""
    return str((obj["metadata"].get("annotations") or {}).get(REQUESTED, ""))


class Progress:
    """One reconciliation's view of its object; `save` shows it to the world."""

    def __init__(self, cluster: SandboxCluster, obj: Json, manager: str) -> None:
        self._cluster = cluster
        self._manager = manager
        self.obj = obj
        self.meta: Json = obj["metadata"]
        self.spec: Json = obj.get("spec") or {}
        self.status: Json = copy.deepcopy(obj.get("status") or {})
        self.generation: int = self.meta.get("generation", 0)

    @property
    def kind(self) -> str:
        return str(self.obj["kind"])

    @property
    def namespace(self) -> str:
        return str(self.meta["namespace"])

    @property
    def name(self) -> str:
        return str(self.meta["name"])

    def get(self, kind: str) -> Json:
        return condition({"status": self.status}, kind)

    def drop(self, *kinds: str) -> None:
        self.status["conditions"] = [item for item in self.status.get("conditions", []) if item["type"] not in kinds]

    def set(self, kind: str, status: str, reason: str, message: str) -> None:
        """Set a condition; its time changes only with its content, its generation always."""
        text = message[:_MAX_MESSAGE]
        new: Json = {"type": kind, "status": status, "reason": reason, "message": text}
        old = self.get(kind)
        same = all(old.get(key) == new[key] for key in ("status", "reason", "message"))
        new["lastTransitionTime"] = old["lastTransitionTime"] if same and old else now()
        new["observedGeneration"] = self.generation
        self.drop(kind)
        self.status["conditions"].append(new)
        self.status["conditions"].sort(key=lambda item: (item["type"] != "Ready", item["type"]))

    def progressing(self, message: str, *, drift: bool = True) -> None:
        """Reconciling; Ready turns Unknown where something is known to change."""
        self.set("Reconciling", "True", "Progressing", message)
        if drift or self.get("Ready").get("status", "Unknown") == "Unknown":
            self.set("Ready", "Unknown", "Progressing", message)

    def retrying(self) -> None:
        """What a failure makes of the Reconciling condition."""
        found = self.get("Reconciling")
        if found:
            self.set("Reconciling", "True", "ProgressingWithRetry", found["message"])

    def handled(self) -> None:
        """Remember the reconcile request that this reconciliation saw."""
        token = requested(self.obj)
        if token:
            self.status["lastHandledReconcileAt"] = token

    def observed(self) -> None:
        self.status["observedGeneration"] = self.generation

    def save(self) -> None:
        """Write the status; an object that has gone meanwhile needs none."""
        with contextlib.suppress(ApiError):
            self._cluster.set_status(self.kind, self.namespace, self.name, self.status, self._manager)

    def add_finalizer(self) -> None:
        held = self.meta.get("finalizers") or []
        if FINALIZER not in held:
            self._patch_finalizers([*held, FINALIZER])

    def remove_finalizer(self) -> None:
        held = self.meta.get("finalizers") or []
        if FINALIZER in held:
            with contextlib.suppress(ApiError):
                self._patch_finalizers([name for name in held if name != FINALIZER])

    def _patch_finalizers(self, names: list[str]) -> None:
        patch: dict[str, Any] = {"metadata": {"finalizers": names or None}}
        self._cluster.patch(self.kind, self.namespace, self.name, patch, self._manager)
