"""How long it takes from a push to the cluster and back to the forge, and how much of that is Sluice's: JSON lines.

Flux's own share is measured beside it, in the same cluster and in turn with Sluice's pushes: there somebody asks Flux
by hand, as `flux reconcile` does, the moment the push is accepted. Sluice's share is what is left of its time when
Flux's and the time that Gitea took to deliver the webhook are taken off. Nothing is asserted but that all arrived.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from tests.e2e.harness import Shop, Sluice, at_once, config, files, settings_of
from tests.e2e.test_rollback import Stuck, start
from tests.servers.control_plane import ControlPlane
from tests.servers.objects import is_ready
from tests.servers.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PUSHES = 5
ROLLED_BACK = 3.0  # seconds
DEV = "development"
REQUESTED = "reconcile.fluxcd.io/requestedAt"


class Next:
    """Watches one Kustomization until another commit than now is applied and Ready there, and notes when that was."""

    def __init__(self, plane: ControlPlane, namespace: str, name: str) -> None:
        self._at = ("Kustomization", name, namespace)
        self._plane, self._began = plane, threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._seen = self._pool.submit(self._look)
        self._began.wait(30)

    def _look(self) -> tuple[str, float]:
        first = ""
        for item in self._plane.admin.watch(*self._at):
            commit = (item.get("status") or {}).get("lastAppliedRevision", "").rpartition(":")[2]
            first = first or commit
            self._began.set()
            if commit != first and is_ready(item):
                return commit, time.time()
        raise TimeoutError(f"nothing new was applied to {self._at}")

    def when(self, commit: str) -> float:
        """When it was, and that it was this commit."""
        found, at = self._seen.result(60)
        self._pool.shutdown()
        assert found == commit
        return at


@dataclass(frozen=True)
class Lap:
    """One push: seconds from Gitea's answer to it until something was so."""

    applied: float
    delivered: float = 0.0
    told: float = 0.0


def push(shop: Shop) -> tuple[str, float]:
    """A commit that changes one ConfigMap, and when Gitea had accepted it."""
    commit = shop.push({f"deploy/{DEV}/settings.yaml": settings_of(DEV, colour=uuid.uuid4().hex)})
    return commit, time.time()


def by_sluice(shop: Shop, namespace: str) -> Lap:
    """A push, and nothing else: Gitea tells Sluice."""
    applied = Next(shop.plane, namespace, DEV)
    commit, began = push(shop)

    def told() -> bool:
        return any(state == "success" for state, _ in shop.statuses(commit, DEV))

    until(told, 30, "a status", every=0.01)
    ended = time.time()
    return Lap(applied.when(commit) - began, received(shop) - began, ended - began)


def received(shop: Shop) -> float:
    """When Sluice got the last push, by its own inbox."""
    ((at,),) = shop.sluice.query("SELECT max(received_at) FROM deliveries WHERE event = 'push'")
    return datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()


def by_hand(shop: Shop, namespace: str) -> Lap:
    """A push, and a reconcile request at once."""
    applied = Next(shop.plane, namespace, "direct")
    commit, began = push(shop)
    body = {"metadata": {"annotations": {REQUESTED: commit}}}
    shop.plane.admin.patch("GitRepository", "direct", body, namespace)
    return Lap(applied.when(commit) - began)


def make_direct(shop: Shop) -> str:
    """A source and a Kustomization that Sluice knows nothing about, applied with an administrator's rights."""
    plane, namespace = shop.plane, f"direct-{uuid.uuid4().hex[:6]}"
    metadata = {"name": "direct", "namespace": namespace}
    roles = "rbac.authorization.k8s.io"
    source = {"kind": "GitRepository", "name": "direct"}
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    credentials = {"username": shop.gitea.bot.name, "password": shop.gitea.git_token}
    plane.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": credentials})
    plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    subject = {"kind": "ServiceAccount", **metadata}
    role = {"apiGroup": roles, "kind": "ClusterRole", "name": "sluice-deployer"}
    plane.apply(
        {"apiVersion": f"{roles}/v1", "kind": "RoleBinding", "metadata": metadata}
        | {"roleRef": role, "subjects": [subject]}
    )
    url, secret = shop.gitea.clone_url(shop.repository), {"name": "direct"}
    spec: dict[str, Any] = {"url": url, "interval": "10m", "ref": {"branch": "main"}, "secretRef": secret}
    plane.apply(
        {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": metadata, "spec": spec}
    )
    spec = {"path": f"./deploy/{DEV}", "prune": True, "wait": True, "interval": "10m", "timeout": "5m"}
    spec |= {"targetNamespace": namespace, "serviceAccountName": "direct", "sourceRef": source}
    plane.apply(
        {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": metadata, "spec": spec}
    )
    plane.admin.wait("Kustomization", "direct", namespace, is_ready)
    return namespace


def tell(name: str, laps: list[float], peer: str | None = None, against: float | None = None) -> None:
    """One JSON line: the median, and what lies on both sides of it."""
    value = statistics.median(laps)
    line: dict[str, Any] = {"name": name, "value": round(value * 1000, 1), "unit": "ms", "peer": peer}
    if against is not None:
        line |= {"peer_value": round(against * 1000, 1), "ratio": round(value / against, 2)}
    print(json.dumps(line | {"spread": [round(1000 * min(laps), 1), round(1000 * max(laps), 1)]}), flush=True)


def test_push_to_status(sluice: Sluice) -> None:
    """Medians of five pushes, each in turn with one that is reconciled by hand."""
    start = {**files([DEV]), ".sluice.yaml": config(DEV)}
    shop, other = Shop(sluice, start, name="timed"), Shop(sluice, start, name="direct", hook=False)
    shop.enable([DEV])
    namespace = make_direct(other)
    ours, flux = [], []
    for _ in range(PUSHES + 1):  # the first pair warms up what is slow once
        ours.append(by_sluice(shop, shop.namespace))
        flux.append(by_hand(other, namespace))

    peer, ours, flux = "flux, asked by hand at once", ours[1:], flux[1:]
    alone = statistics.median(lap.applied for lap in flux)
    tell("e2e.push_to_applied_ms", [lap.applied for lap in ours], peer, alone)
    tell("e2e.push_to_status_ms", [lap.told for lap in ours], peer, alone)
    tell("e2e.forge_delivery_ms", [lap.delivered for lap in ours])
    pairs = zip(ours, flux, strict=True)
    tell("e2e.overhead_ms", [mine.told - mine.delivered - theirs.applied for mine, theirs in pairs], peer, alone)


def test_comment_to_rolled_back(sluice: Sluice) -> None:
    """Over a release that can never get ready, from /rollback until the old revision is Ready: under 3 s.

    Where the release had changed a workload, Flux looks at its health, and next after 5 s: that is told beside it.
    """
    stuck = at_once(*[partial(_stuck, sluice, changed) for changed in (False, False, False, True)])
    for name, changed in (("rollback_to_ready", False), ("rollback_of_a_changed_workload", True)):
        laps = [each.go_back() for each in stuck if each.changed is changed]
        ours, flux = [lap for lap, _ in laps], statistics.median(after for _, after in laps)
        tell(f"e2e.{name}_ms", ours, "flux, from the pin on", flux)
        assert changed or statistics.median(ours) < ROLLED_BACK


def _stuck(sluice: Sluice, changed: bool) -> Stuck:
    return Stuck(Shop(sluice, start(), name="back"), changed=changed)
