"""What the observer sees goes into the rows, and rings for the deployments that wait for it."""

from collections.abc import Collection
from dataclasses import dataclass

from bot.core.deployments import UNSETTLED
from bot.core.settling import resource_status
from bot.flux.observer import Gone, Known, Seen
from bot.store import disabling, initialization, leases, log, projects
from bot.store.transactions import Store, Transaction
from models import Deployment, GitopsResource

TYPES = {"GitRepository": "git-repository", "Kustomization": "kustomization", "HelmRelease": "helm-release"}


@dataclass(frozen=True)
class Observations:
    """Keeps the status columns of `gitops_resources` true."""

    store: Store
    cluster: str

    async def known(self, kind: str) -> Collection[Known]:
        """What should be in the cluster."""
        async with self.store.read() as session:
            rows = await projects.objects_of_kind(session, self.cluster, TYPES[kind])
        return [Known(namespace=row.namespace, name=row.name, uid=row.uid) for row in rows]

    async def changed(self, seen: Seen) -> None:
        """An object is as `seen` now."""
        async with self.store.write() as tx:
            row = await projects.object_row(tx.session, self.cluster, TYPES[seen.kind], seen.namespace, seen.name)
            if row is None:
                return
            self._update(tx, row, seen)
            await initialization.look(tx, row.project_id)
            await self._ring(tx, row)

    async def gone(self, gone: Gone) -> None:
        """An object is there no more."""
        async with self.store.write() as tx:
            row = await projects.object_row(tx.session, self.cluster, TYPES[gone.kind], gone.namespace, gone.name)
            if row is None or row.uid is None:
                return  # not ours, or not made yet
            row.uid, row.status, row.status_reason = None, "failed", "Missing"
            row.status_message, row.last_status_update_at = "the object is not in the cluster any more", tx.now
            log.record(tx.session, "gitops.resource.gone", severity="warning", resource=("gitops_resource", row.id))
            await initialization.look(tx, row.project_id)
            await self._ring(tx, row)
            await disabling.ring(tx, row.project_id)

    def _update(self, tx: Transaction, row: GitopsResource, seen: Seen) -> None:
        status = resource_status(seen.object)
        if row.status != status.status:
            log.record(
                tx.session,
                f"gitops.resource.{status.status}",
                resource=("gitops_resource", row.id),
                reason=status.reason,
                revision=status.last_attempted_revision,
            )
        row.uid, row.status, row.status_reason = seen.uid, status.status, status.reason
        row.status_message, row.last_status_update_at = status.message, tx.now
        row.error_message = status.message if status.status in ("failed", "stalled") else None
        if status.last_applied_revision != row.last_applied_revision:
            row.last_applied_revision, row.last_applied_at = status.last_applied_revision, tx.now
        if status.last_attempted_revision != row.last_attempted_revision:
            row.last_attempted_revision, row.last_attempted_at = status.last_attempted_revision, tx.now

    async def _ring(self, tx: Transaction, row: GitopsResource) -> None:
        waiting = await projects.unsettled_on(tx.session, row.id, UNSETTLED)
        await leases.nudge(tx.session, Deployment, waiting, tx.now)
        for id in waiting:
            tx.ring("advance", id)
