"""Take a deployment one step further, as far as Flux lets it; nothing waits here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from bot import adopting, charts, objects, pinning
from bot.core import fluxobjects, releases, settling, settling_helm
from bot.core.deployments import UNSETTLED, Phase, short
from bot.core.errors import FieldConflict, StaleObject, TemporaryError, UserError
from bot.core.policy import Policy
from bot.core.ports import Cluster, Forge
from bot.core.settling import Facts, Relation, Step
from bot.credentials import Credentials
from bot.inputs import read
from bot.releasing import Gatekeeper
from bot.store import deployments, leases, log, projects, stands
from bot.store.deployments import Place, keep_branch
from bot.store.transactions import Store
from models import Deployment, GitopsResource, Pin

logger = structlog.get_logger()

LOOK_AGAIN = timedelta(seconds=60)  # should a change of Flux's ever escape the observer
GIT_REPOSITORY = "GitRepository"
NEVER_LET_GO = (Phase.WAITING, Phase.REJECTED, Phase.CANCELLED)  # what was never on its way is newer than nothing


@dataclass
class Case:
    """A deployment under way with all that belongs to it."""

    deployment: Deployment
    where: Place
    source: GitopsResource  # a GitRepository, or where a chart from elsewhere comes from
    kustomization: GitopsResource  # or the HelmRelease
    pin: Pin | None
    newer: str | None
    relations: dict[str, Relation] = field(default_factory=dict)
    source_object: dict[str, Any] | None = None
    kustomization_object: dict[str, Any] | None = None
    chart_object: dict[str, Any] | None = None  # of a HelmRelease

    @property
    def kind(self) -> str:
        """What applies the environment."""
        return objects.KIND_OF[self.kustomization.type]

    @property
    def adopted(self) -> bool:
        """Whether others keep what applies it."""
        return projects.is_adopted(self.where.environment)

    @property
    def source_place(self) -> tuple[str, str, str]:
        """Kind, namespace and name of the source; what others keep goes by one of theirs."""
        if self.adopted and self.source_object is not None:
            return adopting.place_of(self.source_object)
        return objects.KIND_OF[self.source.type], self.source.namespace, self.source.name

    @property
    def elsewhere(self) -> bool:
        """Whether it is a chart from elsewhere, whose values Sluice writes."""
        return projects.is_elsewhere(self.where.environment)


@dataclass(frozen=True)
class Deployer:
    """Advances deployments: reads both objects, asks `settle` what to do, does it, until there is nothing to do."""

    store: Store
    forges: Mapping[str, Forge]
    clusters: Mapping[str, Cluster]
    credentials: Credentials
    policy: Policy

    async def advance(self, deployment: Deployment) -> datetime | None:
        """Advance a leased deployment; when to look again if nobody rings."""
        if deployment.status == Phase.WAITING:
            return await self._judge(deployment)
        case = await self._case(deployment)
        cluster = self.clusters.get(case.kustomization.cluster)
        if cluster is None:
            await self._end(case, Phase.FAILED, reason="cluster_unknown", text="its cluster is not configured")
            return None
        try:
            return await self._advance(case, cluster)
        except StaleObject as error:
            raise TemporaryError(str(error), delay=0.1) from error
        except UserError as error:
            await self._end(case, Phase.FAILED, reason=error.code, text=error.message)
            return None

    async def give_up(self, deployment: Deployment, why: str) -> None:
        """End a deployment that cannot be advanced."""
        case = await self._case(deployment)
        await self._end(case, Phase.FAILED, reason="gave_up", text=f"Sluice {why}")

    async def _judge(self, deployment: Deployment) -> datetime | None:
        """One that waits: its gates decide whether it goes."""
        async with self.store.read() as session:
            repository = (await deployments.place(session, deployment.environment_id)).repository
        forge = self.forges.get(repository.provider)
        if forge is None:
            return self.store.clock() + LOOK_AGAIN
        return await Gatekeeper(self.store, forge, self.policy, repository, self.clusters).look(deployment)

    async def _advance(self, case: Case, cluster: Cluster) -> datetime | None:
        deployment = case.deployment
        await self._move_pin(case, cluster)
        await self._write_release(case, cluster)
        await self._look(case, cluster)
        if await self._repeat_lost(case, cluster):
            await self._look(case, cluster)
        while True:
            step = self._next(case)
            match step:
                case settling.RequestSource():
                    await self._request_source(case, cluster, step)
                case settling.RequestKustomization():
                    await self._note(case, Phase.RECONCILING, kustomization_token=step.token, message=step.text)
                    row = case.kustomization
                    await cluster.request_reconcile(case.kind, row.namespace, row.name, step.token)
                case settling.SwitchSource():
                    await self._switch(case, cluster)
                case settling.NeedRelation():
                    case.relations[step.commit] = await self._relation(case, step.commit)
                    continue  # nothing was written: what was seen still holds
                case settling.Wait():
                    return await self._wait(case, step)
                case _:
                    logger.info("deployment ended", id=str(deployment.id), step=type(step).__name__, text=step.text)
                    await self._conclude(case, cluster, step)
                    return None
            await self._look(case, cluster)

    async def _case(self, deployment: Deployment) -> Case:
        async with self.store.read() as session:
            where = await deployments.place(session, deployment.environment_id)
            newest = await deployments.newest(session, deployment.environment_id, without=NEVER_LET_GO)
            return Case(
                deployment=deployment,
                where=where,
                source=await session.get_one(GitopsResource, deployment.source_id),
                kustomization=await session.get_one(GitopsResource, deployment.gitops_resource_id),
                pin=await projects.live_pin(session, deployment.environment_id),
                newer=newest.commit_hash if newest and newest.number > deployment.number else None,
            )

    async def _look(self, case: Case, cluster: Cluster) -> None:
        applied = case.kustomization
        case.kustomization_object = found = await cluster.get(case.kind, applied.namespace, applied.name)
        theirs = case.adopted
        case.source_object = await (adopting.source_of(cluster, found) if theirs else cluster.get(*case.source_place))
        place = settling_helm.chart_place(case.kustomization_object) if case.kind == "HelmRelease" else None
        case.chart_object = await cluster.get("HelmChart", *place) if place else None

    def _next(self, case: Case) -> Step:
        found = case.kustomization_object
        if case.adopted and found and not adopting.is_permitted(case.where.repository, found, case.source_object):
            refused = adopting.refused(case.where.environment.config["adopt"])
            return settling.Fail(refused.code, refused.message)
        if case.elsewhere:
            return settling_helm.settle_elsewhere(self._facts(case))
        if case.kind == "HelmRelease":
            return settling_helm.settle(self._facts(case), case.chart_object)
        return settling.settle(self._facts(case))

    def _facts(self, case: Case) -> Facts:
        deployment = case.deployment
        return Facts(
            revision=deployment.commit_hash,
            source_name=case.source_place[2],
            pinned=case.source.environment_id is not None and not case.adopted,
            number=deployment.number,
            source=case.source_object,
            kustomization=case.kustomization_object,
            source_token=deployment.source_token,
            kustomization_token=deployment.kustomization_token,
            failure_seen=deployment.failure_seen,
            started=deployment.begun_at,
            deadline=deployment.deadline_at or deployment.begun_at + timedelta(minutes=10),
            now=self.store.clock(),
            relations=case.relations,
            newer=case.newer,
        )

    # What a step does.

    async def _move_pin(self, case: Case, cluster: Cluster) -> None:
        """Have the environment's own source say what the live pin says, if it is this deployment's."""
        pin, source = case.pin, case.source
        if pin is None or source.id != pin.source_id or pin.number != case.deployment.number or case.elsewhere:
            return
        found = await cluster.get(GIT_REPOSITORY, source.namespace, source.name)
        if not pinning.behind(found, pin):
            return
        await self._note(case, Phase.APPLYING, message=f"pinning to {short(pin.commit_hash)}")
        async with self.store.read() as session:
            git = await self.credentials.git(session, case.where.repository, case.where.project)
        await self._over(case, lambda take: pinning.write(cluster, case.where, pin, found, git, take_over=take))

    async def _write_release(self, case: Case, cluster: Cluster) -> None:
        """Have the HelmRelease of a chart from elsewhere say what this deployment wants."""
        if not case.elsewhere:
            return
        deployment, row, where = case.deployment, case.kustomization, case.where
        found = await cluster.get(case.kind, row.namespace, row.name)
        if not charts.behind(found, deployment.number):
            return
        await self._note(case, Phase.APPLYING, message=f"writing the values of {short(deployment.commit_hash)}")
        forge = self.forges[where.repository.provider]
        commit, number = deployment.commit_hash, deployment.number
        await self._over(
            case,
            lambda take: charts.write(cluster, forge, where, found, commit=commit, number=number, take_over=take),
        )

    async def _repeat_lost(self, case: Case, cluster: Cluster) -> bool:
        """Make the requests that were noted but never made; whether there were any."""
        deployment, repeated = case.deployment, False
        applier = case.kind, case.kustomization.namespace, case.kustomization.name
        for place, found, request in (
            (case.source_place, case.source_object, deployment.source_token),
            (applier, case.kustomization_object, deployment.kustomization_token),
        ):
            if request is not None and fluxobjects.is_lost(found, request):
                await cluster.request_reconcile(*place, request)
                repeated = True
        return repeated

    async def _request_source(self, case: Case, cluster: Cluster, step: settling.RequestSource) -> None:
        """Ask for a fetch; one that another deployment asked for since this one was opened serves as well."""
        asked = fluxobjects.asked_since(case.source_object, case.deployment.begun_at)
        shared = asked if case.deployment.source_token is None else None
        request = shared or step.token
        await self._note(
            case, Phase.RECONCILING, source_token=request, failure_seen=step.failure_seen, message=step.text
        )
        if shared is None:
            await cluster.request_reconcile(*case.source_place, request)

    async def _switch(self, case: Case, cluster: Cluster) -> None:
        await self._note(case, Phase.RECONCILING, message=f"switching to {case.source.name}")
        wanted = objects.applier(case.where, case.source.name)
        found = case.kustomization_object
        await self._over(case, lambda take: pinning.apply_over(cluster, wanted, found, take_over=take))

    async def _over(self, case: Case, write: Callable[[bool], Awaitable[None]]) -> None:
        """Write; what others own only where an admin said so, and once it is noted what that is.

        Both times the same version is written over, so that nothing else is forced than what was noted.
        """
        try:
            await write(False)
        except FieldConflict as conflict:
            if case.deployment.take_over is None:
                raise
            await self._note_taken(case, conflict.fields)
            await write(True)

    async def _note_taken(self, case: Case, fields: Sequence[str]) -> None:
        known = case.deployment.take_over or []
        taken = [*known, *(each for each in fields if each not in known)]
        if taken == known:
            return  # before an interruption
        async with self.store.write() as tx:
            row = await leases.owned(tx.session, case.deployment)
            if row is None:
                raise TemporaryError("another worker has the deployment", delay=0.1)
            row.take_over = taken
            log.fields_taken(
                tx.session, case.where.project, fields, actor=row.requested_by, resource=("deployment", row.id)
            )
        case.deployment.take_over = taken

    async def _relation(self, case: Case, commit: str) -> Relation:
        forge, name = self.forges[case.where.repository.provider], case.where.repository.full_name
        ours = case.deployment.commit_hash
        if await forge.is_ancestor(name, ours, commit):
            there = await read(forge, case.where, commit)
            return Relation.CONTAINS if there.inputs_digest == case.deployment.inputs_digest else Relation.CHANGED
        return Relation.OLDER if await forge.is_ancestor(name, commit, ours) else Relation.APART

    async def _wait(self, case: Case, step: settling.Wait) -> datetime:
        facts: dict[str, Any] = {} if step.failure_seen is None else {"failure_seen": step.failure_seen}
        await self._note(case, Phase.RECONCILING, message=step.text, loud=step.failing, **facts)
        now = self.store.clock()
        again = timedelta(seconds=step.again) if step.again is not None else LOOK_AGAIN
        deadline = case.deployment.deadline_at
        return min(now + again, deadline) if deadline and deadline > now else now + again

    async def _conclude(self, case: Case, cluster: Cluster, step: Step) -> None:
        match step:
            case settling.Succeed():
                message = None if step.health_checked else deployments.NOT_CHECKED
                await self._retire_own_source(case, cluster)  # before the end: nobody would come back for it
                await self._retire_shared_sources(case, cluster)
                await self._end(case, Phase.SUCCEEDED, live=step.live_as, text=message)
            case settling.Fail():
                await self._end(case, Phase.FAILED, reason=step.code, text=step.message)
            case settling.TimeOut():
                await self._end(case, Phase.TIMED_OUT, reason="timed_out", text=step.message)
            case settling.Supersede():
                await self._end(case, Phase.SUPERSEDED, live=step.by)
            case _:
                raise AssertionError(f"{step} is no end")

    async def _retire_own_source(self, case: Case, cluster: Cluster) -> None:
        """Back on the shared source, the environment's own one has no use any more."""
        if case.source.environment_id is not None:
            return
        environment = case.where.environment.id
        async with self.store.read() as session:
            own = await projects.own_source(session, environment)
            pin = await projects.live_pin(session, environment)
        if own is None or pin is not None:
            return
        forge, where = self.forges[case.where.repository.provider], case.where
        await cluster.delete(GIT_REPOSITORY, own.namespace, own.name)
        try:
            await forge.delete_branch(where.repository.full_name, keep_branch(where))
        except UserError as error:  # what is live is live, whatever becomes of the branch
            logger.warning("a branch of ours stays", repository=where.repository.full_name, why=error.message)
        async with self.store.write() as tx:
            await deployments.one_at_a_time(tx.session, environment)
            if await projects.live_pin(tx.session, environment) is None:  # else the pin's deployment makes it anew
                row = await tx.session.get_one(GitopsResource, own.id)
                row.deleted_at = tx.now

    async def _retire_shared_sources(self, case: Case, cluster: Cluster) -> None:
        """A branch's source goes when its last follower went over to another one: nobody needs it fetched."""
        if case.source.environment_id is None and case.deployment.trigger != "enable":
            return
        where = case.where
        async with self.store.read() as session:
            sources = await projects.shared_sources(session, where.project.id, where.environment.cluster)
            environments = await projects.environments_of(session, where.project.id)
            appliers = [await projects.applier(session, each.id) for each in environments]
        followed = {each.branch for each in environments if deployments.rules_of(each).follows}
        left = [source for source in sources if source.branch not in followed]
        used = {await self._goes_by(cluster, each) for each in appliers if each is not None} if left else set()
        for source in left:
            if source.name not in used:
                await self._retire(cluster, source)

    async def _goes_by(self, cluster: Cluster, applier: GitopsResource) -> str | None:
        found = await cluster.get(objects.KIND_OF[applier.type], applier.namespace, applier.name)
        return fluxobjects.git_source(found) if found is not None else None

    async def _retire(self, cluster: Cluster, source: GitopsResource) -> None:
        await cluster.delete(GIT_REPOSITORY, source.namespace, source.name)
        async with self.store.write() as tx:
            row = await tx.session.get_one(GitopsResource, source.id)
            row.deleted_at = tx.now

    # What is written down.

    async def _note(self, case: Case, phase: Phase, *, loud: bool = False, **facts: Any) -> None:
        """Write progress down; it is said on the forge when the phase changes, or when it is `loud`."""
        deployment = case.deployment
        silent = deployment.status == phase and not (loud and facts.get("message") != deployment.message)
        if silent and all(getattr(deployment, name) == value for name, value in facts.items()):
            return
        async with self.store.write() as tx:
            row = await leases.owned(tx.session, deployment)
            if row is None or row.status not in UNSETTLED:
                raise TemporaryError("the deployment has ended, or another worker has it", delay=0.1)
            await deployments.move(tx, case.where, row, phase, silent=silent, **facts)
        for name, value in {"status": phase, **facts}.items():
            setattr(deployment, name, value)

    async def _end(
        self, case: Case, phase: Phase, *, reason: str | None = None, text: str | None = None, live: str | None = None
    ) -> None:
        settled = releases.Settled(id=case.deployment.id, phase=phase, reason=reason, text=text, live=live)
        async with self.store.write() as tx:
            await deployments.one_at_a_time(tx.session, case.deployment.environment_id)
            if await leases.owned(tx.session, case.deployment) is None:
                raise TemporaryError("another worker has the deployment", delay=0.1)
            stand = await stands.read(tx.session, case.where.environment)
            await stands.apply(tx, case.where, releases.decide(stand, settled))
