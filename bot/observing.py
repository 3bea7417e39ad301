"""What the observer sees goes into the rows, and rings for the deployments that wait for it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from bot import pinning
from bot.core import adoption, sightings
from bot.core.deployments import UNSETTLED
from bot.core.errors import BotError, StaleObject
from bot.core.ports import Cluster
from bot.core.settling import ResourceStatus, resource_status
from bot.core.sightings import Sighting
from bot.credentials import Credentials
from bot.flux.observer import Gone, Known, Named, Seen
from bot.objects import KIND_OF, TYPE_OF
from bot.store import deployments, disabling, gates, initialization, leases, log, projects
from bot.store.transactions import Store, Transaction
from models import Deployment, Environment, GitopsResource, Project

TYPES = TYPE_OF  # every kind that has rows is watched
CHART = "HelmChart"  # made by helm-controller for a HelmRelease: it has no row, but what it says decides
OF_RELEASES = "helm.toolkit.fluxcd.io/name"  # the label that it puts on them
UNMOVED = timedelta(minutes=5)  # after which an object that is not ready is looked at, should an event have been lost
SOURCE = "source"  # in an adopted row's config: the GitRepository that it goes by
GENERATION = "generation"  # in a row's config: of the object's spec, as it was seen last

logger = structlog.get_logger()


@dataclass(frozen=True)
class Observations:
    """Keeps the status columns of `gitops_resources` true, and compares pins with the database.

    A pin that another hand moved is told; it is put back only where the operator wants that (`restore`).
    """

    store: Store
    port: Cluster
    credentials: Credentials
    restore: bool = False

    @property
    def cluster(self) -> str:
        """The name of the cluster."""
        return self.port.name

    async def known(self, kind: str) -> Collection[Known]:
        """What should be in the cluster."""
        if kind == CHART:
            return []
        async with self.store.read() as session:
            rows = await projects.objects_of_kind(session, self.cluster, TYPES[kind])
        return [Known(namespace=row.namespace, name=row.name, uid=row.uid) for row in rows]

    async def adopted(self, kind: str) -> Collection[Known]:
        """What should be there of what others keep."""
        async with self.store.read() as session:
            rows = await projects.adopted(session, self.cluster)
        return [Known(namespace=row.namespace, name=row.name, uid=row.uid) for row in rows if KIND_OF[row.type] == kind]

    async def named(self, _: None = None) -> Collection[Named]:
        """What others keep, and the sources that it goes by: each is watched by its name."""
        async with self.store.read() as session:
            rows = await projects.adopted(session, self.cluster)
        appliers = {(KIND_OF[row.type], row.namespace, row.name) for row in rows}
        return appliers | {("GitRepository", *row.config[SOURCE].split("/")) for row in rows if SOURCE in row.config}

    async def changed_by_name(self, seen: Seen) -> None:
        """The same for what others keep; the source of an adopted object has no row, but it decides."""
        if seen.kind != "GitRepository":
            await self.changed(seen)
            return
        async with self.store.write() as tx:
            for row in await projects.adopted(tx.session, self.cluster):
                if row.config.get(SOURCE) == f"{seen.namespace}/{seen.name}":
                    await self._ring(tx, row)

    async def gone_by_name(self, gone: Gone) -> None:
        """What others keep is there no more; of a source the object that goes by it tells."""
        if gone.kind != "GitRepository":
            await self.gone(gone)

    async def changed(self, seen: Seen) -> None:
        """An object is as `seen` now; or was, if the row says something newer: then the cluster is asked."""
        if seen.kind == CHART:
            await self._chart(seen.object["metadata"])
            return
        async with self.store.write() as tx:
            row = await self._row(tx, seen.kind, seen.namespace, seen.name)
            if row is None:
                return
            late = sightings.is_late(_sighting(seen), sightings.noted(row.uid, row.config))
            suspect = not late and await self._take(tx, row, seen)
        if late:
            await self._look(seen.kind, row)
        if suspect:
            await self._compare(seen)

    async def gone(self, gone: Gone) -> None:
        """An object is there no more; if the row is about another, which may be newer, the cluster is asked."""
        if gone.kind == CHART:
            return  # its release tells
        async with self.store.write() as tx:
            row = await self._row(tx, gone.kind, gone.namespace, gone.name)
            if row is None:
                return  # not ours
            newer = _note_gone(row, gone)
            late = not newer and row.uid not in (None, gone.uid)
            if row.uid is not None and not late:
                await self._leave(tx, row)
        if late:
            await self._look(gone.kind, row)

    async def _take(self, tx: Transaction, row: GitopsResource, seen: Seen) -> bool:
        """The row says what was seen; whether it looks as if another hand had moved a pin."""
        await self._update(tx, row, seen)
        await initialization.look(tx, row.project_id)
        await self._ring(tx, row)
        await gates.catch_up(tx, row, seen.object)
        if await gates.says_otherwise(tx, row, seen.object) is not None:
            return True
        await self._mended(tx, row, seen.object)
        return False

    async def _leave(self, tx: Transaction, row: GitopsResource) -> None:
        """The row says that the object is gone."""
        await self._lost(tx, row)
        await initialization.look(tx, row.project_id)
        await self._ring(tx, row)
        await disabling.ring(tx, row.project_id)

    async def _chart(self, metadata: dict[str, Any]) -> None:
        """A release's chart changed: who waits for the release looks at both."""
        labels = metadata.get("labels") or {}
        place = [labels.get(f"helm.toolkit.fluxcd.io/{what}", "") for what in ("namespace", "name")]
        async with self.store.write() as tx:
            row = await projects.object_row(tx.session, self.cluster, "helm-release", *place)
            if row is not None:
                await self._ring(tx, row)

    async def look_again(self) -> None:
        """Look at what has been on its way for long: should an event have been lost, no row says so for ever."""
        async with self.store.read() as session:
            rows = await projects.unmoved(session, self.cluster, tuple(TYPES.values()), self.store.clock() - UNMOVED)
        kinds = {type: kind for kind, type in TYPES.items()}
        for row in rows:
            try:
                await self._look(kinds[row.type], row)
            except BotError as error:
                logger.warning("could not look at an object", name=f"{row.namespace}/{row.name}", why=str(error))

    async def _look(self, kind: str, row: GitopsResource) -> None:
        """Ask the cluster itself. The answer counts if nothing was told since `row` was read, or if it is newer."""
        before = sightings.noted(row.uid, row.config)
        found = await self.port.get(kind, row.namespace, row.name)
        seen = None if found is None else self._seen(kind, found)
        async with self.store.write() as tx:
            again = await self._row(tx, kind, row.namespace, row.name)
            suspect = again is not None and await self._answered(tx, again, before, seen)
        if suspect and seen is not None:
            await self._compare(seen)

    async def _answered(self, tx: Transaction, row: GitopsResource, before: Sighting, seen: Seen | None) -> bool:
        known = sightings.noted(row.uid, row.config)
        if seen is None:
            if known == before and row.uid is not None:
                await self._leave(tx, row)
            return False
        if known != before and not sightings.is_newer(_sighting(seen), known):
            return False  # what was told meanwhile is newer
        return await self._take(tx, row, seen)

    def _seen(self, kind: str, found: dict[str, Any]) -> Seen:
        metadata = found["metadata"]
        return Seen(
            cluster=self.cluster,
            kind=kind,
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            object=found,
        )

    async def _row(self, tx: Transaction, kind: str, namespace: str, name: str) -> GitopsResource | None:
        """For writing: of two that tell at once, one waits and sees what the other noted."""
        return await projects.object_row(tx.session, self.cluster, TYPES[kind], namespace, name, for_update=True)

    # What an object says of itself.

    async def _update(self, tx: Transaction, row: GitopsResource, seen: Seen) -> None:
        status = resource_status(seen.object)
        if row.adopted:
            await _note_theirs(tx, row, seen.object)
        await self._tell_spec(tx, row, seen)
        await self._tell_status(tx, row, status)
        row.config = {**row.config, sightings.VERSION: seen.resource_version}
        row.uid, row.status, row.status_reason = seen.uid, status.status, status.reason
        row.status_message, row.last_status_update_at = status.message, tx.now
        row.error_message = status.message if status.status in ("failed", "stalled") else None
        if status.last_applied_revision != row.last_applied_revision:
            row.last_applied_revision, row.last_applied_at = status.last_applied_revision, tx.now
        if status.last_attempted_revision != row.last_attempted_revision:
            row.last_attempted_revision, row.last_attempted_at = status.last_attempted_revision, tx.now

    async def _tell_spec(self, tx: Transaction, row: GitopsResource, seen: Seen) -> None:
        """Made, made anew, or changed: each is a change of the row, so it is told once."""
        metadata = seen.object["metadata"]
        generation, before = metadata.get("generation"), row.config.get(GENERATION)
        by, version = gates.changed_by(seen.object), seen.resource_version
        if row.uid is None and row.adopted:
            await self._log(tx, row, "gitops.resource.adopted", uid=seen.uid, version=version)
        elif row.uid is None:
            await self._log(tx, row, "gitops.resource.created", actor=by, uid=seen.uid, version=version)
        elif row.uid != seen.uid:
            await self._log(tx, row, "gitops.resource.deleted", "warning", uid=row.uid)
            await self._log(tx, row, "gitops.resource.created", actor=by, uid=seen.uid, version=version)
        elif before is not None and generation != before and "deletionTimestamp" not in metadata:  # that counts as well
            await self._log(tx, row, "gitops.resource.updated", actor=by, generation=generation, version=version)
        if generation != before:
            row.config = {**row.config, GENERATION: generation}

    async def _tell_status(self, tx: Transaction, row: GitopsResource, status: ResourceStatus) -> None:
        facts: dict[str, Any] = {"reason": status.reason, "revision": status.last_attempted_revision}
        if row.status != status.status:
            await self._log(tx, row, f"gitops.resource.{status.status}", **facts)
        if row.type in projects.APPLIERS:
            return  # what is applied is told by deployments
        fetched = status.last_applied_revision
        if fetched is not None and fetched != row.last_applied_revision:
            await self._log(tx, row, "gitops.sync.completed", reason=None, revision=fetched)
        if status.status in ("failed", "stalled") and row.status != status.status:
            await self._log(tx, row, "gitops.sync.failed", "warning", message=status.message, **facts)

    async def _lost(self, tx: Transaction, row: GitopsResource) -> None:
        project = await tx.session.get_one(Project, row.project_id)
        severity = "info" if project.status == "disabling" else "warning"
        await self._log(tx, row, "gitops.resource.deleted", severity, uid=row.uid, revision=row.last_applied_revision)
        row.uid, row.status, row.status_reason = None, "failed", "Missing"
        row.status_message, row.last_status_update_at = "the object is not in the cluster any more", tx.now
        row.error_message = row.status_message

    async def _log(
        self, tx: Transaction, row: GitopsResource, action: str, severity: str = "info", **facts: Any
    ) -> None:
        project = await tx.session.get_one(Project, row.project_id)
        log.record(
            tx.session,
            action,
            severity=severity,
            actor=facts.pop("actor", None),
            organization_id=project.organization_id,
            resource=("gitops_resource", row.id),
            type=row.type,
            name=f"{row.namespace}/{row.name}",
            cluster=row.cluster,
            **facts,
        )

    async def _ring(self, tx: Transaction, row: GitopsResource) -> None:
        waiting = await projects.unsettled_on(tx.session, row.id, UNSETTLED)
        await leases.nudge(tx.session, Deployment, waiting, tx.now)
        for id in waiting:
            tx.ring("advance", id)

    # The gate.

    async def _compare(self, seen: Seen) -> None:
        """Look at the object itself before crying: what the observer told may be older than what the row says."""
        found = await self.port.get(seen.kind, seen.namespace, seen.name)
        if found is None:
            return
        async with self.store.write() as tx:
            row = await self._row(tx, seen.kind, seen.namespace, seen.name)
            wish = None if row is None else await gates.says_otherwise(tx, row, found)
            if row is None or wish is None:
                return
            await gates.broken(tx, row, wish, found, gates.moved_by(found))
            pin = await projects.live_pin(tx.session, wish.environment_id)
            if pin is None or wish.is_release:
                return  # a release is written anew by the next deployment: what its values are, the forge knows
            where = await deployments.place(tx.session, pin.environment_id)
            git = await self.credentials.git(tx.session, where.repository, where.project)
        if self.restore:
            try:
                await pinning.write(self.port, where, pin, found, git, take_over=True)
            except StaleObject:
                return  # it changed once more, which the observer tells

    async def _mended(self, tx: Transaction, row: GitopsResource, found: dict[str, Any]) -> None:
        mark, commit = gates.mark_of(row), gates.shown(row, found)
        if mark is None or row.environment_id is None:
            return
        if row.type == "helm-release":
            await gates.holds(tx, row)
            return
        pin = await projects.live_pin(tx.session, row.environment_id)
        if mark != commit or (pin is not None and pin.commit_hash == commit):
            await gates.holds(tx, row)


def _sighting(seen: Seen) -> Sighting:
    return Sighting(seen.uid, seen.resource_version)


def _note_gone(row: GitopsResource, gone: Gone) -> bool:
    """Note the version at which nothing was there, if the row tells of an earlier one; whether it does."""
    end, known = Sighting(None, gone.resource_version), sightings.noted(row.uid, row.config)
    if end.version is None or not sightings.is_newer(end, known):
        return False
    row.config = {**row.config, sightings.VERSION: end.version}
    return True


async def _note_theirs(tx: Transaction, row: GitopsResource, found: dict[str, Any]) -> None:
    """What others keep may change where it lies and what it goes by."""
    place = adoption.source_of(found)
    source = "/".join(place[1:]) if place else ""
    if source and row.config.get(SOURCE) != source:
        row.config = {**row.config, SOURCE: source}
    environment = await tx.session.get(Environment, row.environment_id) if row.environment_id else None
    path = adoption.path_of(found)
    if environment is not None and path and environment.path != path:
        environment.path = path
