"""Deployments: opened once for a run, moved through their phases, ended exactly once."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import lifecycle, rules
from bot.core.conversation import status_text
from bot.core.deployments import TERMINAL, UNSETTLED, Phase, commit_of, duration
from bot.core.manifests import slug
from bot.core.rules import Rules
from bot.store import initialization, leases, log, outbox, projects
from bot.store.transactions import Transaction
from models import Deployment, Environment, GitopsResource, Project, Repository

_NOT_SUCCEEDED = tuple(phase for phase in Phase if phase is not Phase.SUCCEEDED)
NOT_CHECKED = "health not checked"
NOT_LET_THROUGH = (Phase.WAITING, Phase.SUPERSEDED, Phase.REJECTED, Phase.CANCELLED)
SYNC_ENDS = {Phase.SUCCEEDED: "completed", Phase.FAILED: "failed", Phase.TIMED_OUT: "failed"}
BY_GIT = frozenset({"push", "enable", "unpin", "resume"})
SHORTEST_TIMEOUT = timedelta(seconds=30)  # Flux takes a shorter one for this


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A revision that is to go to an environment, and by which GitRepository."""

    commit: str
    source_id: UUID
    trigger: str  # push | enable | deploy | unpin | rollback | promote | resume
    requested_by: str
    inputs_digest: str
    config_digest: str
    policy_digest: str
    run_id: UUID
    pull_request: int | None = None
    patience: timedelta = timedelta(minutes=7)
    requested_by_id: str | None = None
    chain_digest: str = ""
    branch: str | None = None  # by which Flux reaches the commit; None: the environment's own
    base_branch: str | None = None
    base_commit: str | None = None
    config_commit: str | None = None
    prunes: list[str] | None = None
    take_over: list[str] | None = None
    gates: list[dict[str, Any]] | None = None
    message: str | None = None


@dataclass(frozen=True)
class Place:
    """An environment with all that it belongs to."""

    repository: Repository
    project: Project
    environment: Environment
    several_projects: bool = False

    @property
    def title(self) -> str:
        """What people call it: with its project where there are several."""
        return f"{self.project.slug}/{self.environment.name}" if self.several_projects else self.environment.name

    @property
    def context(self) -> str:
        """The name of the commit status."""
        return f"sluice/{self.title}"

    @property
    def rules(self) -> Rules:
        """The gates that `/enable` applied last."""
        return rules_of(self.environment)


def keep_branch(where: Place) -> str:
    """The branch that keeps a pinned commit reachable when no other does (Gitea: 100 characters at most)."""
    return f"sluice/keep/{slug(where.project.slug)}/{slug(where.environment.name)}"


def rules_of(environment: Environment) -> Rules:
    """The gates that `/enable` applied last to an environment."""
    return rules.from_config(environment.config.get("rules"))


def patience(environment: Environment) -> timedelta:
    """How long a deployment may take: what Flux may take to apply it, and two minutes to get there."""
    applying = max(duration(environment.config.get("timeout", "5m")), SHORTEST_TIMEOUT)
    return applying + timedelta(minutes=2)


async def place(session: AsyncSession, environment_id: UUID) -> Place:
    """Everything around an environment."""
    query = (
        sa.select(Repository, Project, Environment)
        .join(Project, Project.repository_id == Repository.id)
        .join(Environment, Environment.project_id == Project.id)
        .where(Environment.id == environment_id)
    )
    repository, project, environment = (await session.execute(query)).one()
    siblings = await projects.of_repository(session, repository.id)
    return Place(repository, project, environment, len(siblings) > 1)


async def of_run(session: AsyncSession, run_id: UUID, environment_id: UUID) -> Deployment | None:
    """The deployment that a run opened before it was interrupted."""
    query = sa.select(Deployment).where(Deployment.run_id == run_id, Deployment.environment_id == environment_id)
    return (await session.execute(query)).scalar_one_or_none()


async def latest(
    session: AsyncSession,
    environment_id: UUID,
    *,
    without: Collection[str] = (),
    triggers: Collection[str] = (),
    limit: int = 1,
    offset: int = 0,
) -> Sequence[Deployment]:
    """The last deployments of an environment, newest first; with `triggers` only those."""
    query = (
        sa.select(Deployment)
        .where(Deployment.environment_id == environment_id, Deployment.status.not_in(without))
        .order_by(Deployment.number.desc())
        .limit(limit)
        .offset(offset)
    )
    if triggers:
        query = query.where(Deployment.trigger.in_(triggers))
    return (await session.execute(query)).scalars().all()


async def newest(
    session: AsyncSession, environment_id: UUID, *, without: Collection[str] = (), triggers: Collection[str] = ()
) -> Deployment | None:
    """The newest deployment of an environment."""
    return next(iter(await latest(session, environment_id, without=without, triggers=triggers)), None)


async def live_commit(session: AsyncSession, environment_id: UUID, applier: GitopsResource) -> str | None:
    """The commit that an environment runs: by what Flux says; a HelmRelease says none, there by what succeeded."""
    if applier.type == "kustomization":
        return commit_of(applier.last_applied_revision)
    last = await newest(session, environment_id, without=_NOT_SUCCEEDED)
    return None if last is None else last.live_revision or last.commit_hash


async def waiting(session: AsyncSession, environment_id: UUID) -> Deployment | None:
    """The deployment that waits in an environment."""
    query = sa.select(Deployment).where(Deployment.environment_id == environment_id, Deployment.status == Phase.WAITING)
    return (await session.execute(query)).scalar_one_or_none()


async def how_many_wait(session: AsyncSession) -> int:
    """How many deployments wait, wherever."""
    query = sa.select(sa.func.count()).select_from(Deployment).where(Deployment.status == Phase.WAITING)
    return (await session.execute(query)).scalar_one()


async def pushers(session: AsyncSession, environment_id: UUID) -> set[str]:
    """The accounts whose pushes changed an environment since something was last let through to it."""
    last = await newest(session, environment_id, without=NOT_LET_THROUGH)
    query = sa.select(Deployment.requested_by_id).where(
        Deployment.environment_id == environment_id,
        Deployment.number > (last.number if last else 0),
        Deployment.trigger == "push",
        Deployment.requested_by_id.is_not(None),
    )
    return {account for account in (await session.execute(query)).scalars() if account is not None}


async def one_at_a_time(session: AsyncSession, environment_id: UUID) -> None:
    """Until the end of the transaction nobody else opens a deployment of the environment or moves its pin."""
    await session.execute(sa.select(Environment.id).where(Environment.id == environment_id).with_for_update())


async def of_commit(session: AsyncSession, environment_id: UUID, commit: str) -> bool:
    """Whether a commit ever had a deployment in an environment."""
    query = sa.select(Deployment.id).where(
        Deployment.environment_id == environment_id, Deployment.commit_hash == commit
    )
    return (await session.execute(query.limit(1))).scalar_one_or_none() is not None


async def succeeded(
    session: AsyncSession,
    environment_id: UUID,
    *,
    commit: str = "",
    number: int | None = None,
    id: UUID | None = None,
    limit: int = 50,
) -> Sequence[Deployment]:
    """Deployments of an environment that came to a good end, newest first; `commit` may be the beginning of one."""
    query = sa.select(Deployment).where(
        Deployment.environment_id == environment_id, Deployment.status == Phase.SUCCEEDED
    )
    if commit:
        query = query.where(Deployment.commit_hash.startswith(commit, autoescape=True))
    if number is not None:
        query = query.where(Deployment.number == number)
    if id is not None:
        query = query.where(Deployment.id == id)
    return (await session.execute(query.order_by(Deployment.number.desc()).limit(limit))).scalars().all()


async def last_of_commit(session: AsyncSession, environment_id: UUID, commit: str) -> Deployment | None:
    """The newest deployment of a commit to an environment."""
    query = (
        sa.select(Deployment)
        .where(Deployment.environment_id == environment_id, Deployment.commit_hash == commit)
        .order_by(Deployment.number.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def begin(tx: Transaction, where: Place, deployment: Deployment) -> None:
    """Say that a deployment is on its way, and have it worked on."""
    await say(tx, where, deployment)
    if deployment.status != Phase.WAITING:
        _log_sync(tx, where, deployment, "started")
    tx.ring("advance", deployment.id)


async def release(tx: Transaction, where: Place, deployment: Deployment, *, gates: list[dict[str, Any]]) -> None:
    """Let a waiting deployment go: with the next number it overtakes what runs. It had not ended."""
    deployment.number = await next_number(tx.session, where.environment.id)
    deployment.status, deployment.message, deployment.gates = Phase.QUEUED, None, gates
    deployment.approved_at, deployment.deadline_at = tx.now, tx.now + patience(where.environment)
    await tx.session.flush()
    await leases.nudge(tx.session, Deployment, [deployment.id], tx.now)
    await begin(tx, where, deployment)


async def open_overtaken(tx: Transaction, where: Place, wish: Wish, *, by: str) -> Deployment:
    """Record a revision that was overtaken before anything was done for it: it says what became of it."""
    deployment = await insert(tx, where, wish, Phase.QUEUED)
    _log(tx, where, deployment)
    _log_sync(tx, where, deployment, "started")
    await move(tx, where, deployment, Phase.SUPERSEDED, live_revision=by)
    return deployment


async def move(
    tx: Transaction, where: Place, deployment: Deployment, phase: Phase, *, silent: bool = False, **facts: Any
) -> bool:
    """Put a deployment into a phase, say so, and log it; False if it had ended before: it ends only once."""
    if phase in TERMINAL:
        facts = {"message": None, **facts}  # what it was waiting for is no part of how it ended
    changed = await tx.session.execute(
        sa.update(Deployment)
        .where(Deployment.id == deployment.id, Deployment.status.in_(lifecycle.sources(phase)))
        .values(
            status=phase,
            updated_at=tx.now,
            **({} if phase is Phase.WAITING else {"started_at": _first_time(tx)}),
            finished_at=tx.now if phase in TERMINAL else None,
            **facts,
        )
        .returning(Deployment.id)
    )
    moved = changed.scalar_one_or_none() is not None
    await tx.session.refresh(deployment)
    if not moved:
        assert deployment.status in TERMINAL, f"a deployment cannot go from {deployment.status} to {phase}"
        return False
    if phase in TERMINAL:
        await initialization.look(tx, where.project.id)
    if phase is Phase.SUCCEEDED:
        await _ring_those_after(tx, where)
    if not silent:
        await say(tx, where, deployment)
    elif phase in TERMINAL:
        _log(tx, where, deployment)
    if phase in TERMINAL:
        _log_sync(tx, where, deployment, SYNC_ENDS.get(phase, "cancelled"))
    return True


def _first_time(tx: Transaction) -> Any:
    return sa.func.coalesce(Deployment.started_at, sa.literal(tx.now, Deployment.started_at.type))


async def _ring_those_after(tx: Transaction, where: Place) -> None:
    """What waits in the project's other environments may have waited for this."""
    query = (
        sa.select(Deployment.id)
        .join(Environment, Environment.id == Deployment.environment_id)
        .where(Environment.project_id == where.project.id, Deployment.status == Phase.WAITING)
    )
    found = list((await tx.session.execute(query)).scalars())
    await leases.nudge(tx.session, Deployment, found, tx.now)
    for id in found:
        tx.ring("advance", id)


async def unsettled(session: AsyncSession, environment_id: UUID) -> Sequence[Deployment]:
    """The deployments of an environment that have not ended."""
    query = sa.select(Deployment).where(Deployment.environment_id == environment_id, Deployment.status.in_(UNSETTLED))
    return (await session.execute(query)).scalars().all()


async def next_number(session: AsyncSession, environment_id: UUID) -> int:
    """A number that no deployment of the environment had before."""
    numbered = await session.execute(
        sa.update(Environment)
        .where(Environment.id == environment_id)
        .values(last_number=Environment.last_number + 1)
        .returning(Environment.last_number)
    )
    return numbered.scalar_one()


async def insert(tx: Transaction, where: Place, wish: Wish, phase: Phase) -> Deployment:
    """The row of a deployment, with the next number; nothing is said of it yet."""
    assert where.environment.gitops_resource_id is not None
    deployment = Deployment(
        id=uuid.uuid4(),
        gitops_resource_id=where.environment.gitops_resource_id,
        source_id=wish.source_id,
        environment_id=where.environment.id,
        run_id=wish.run_id,
        number=await next_number(tx.session, where.environment.id),
        commit_hash=wish.commit,
        deployment_method="gitops" if wish.trigger in BY_GIT else "manual",
        trigger=wish.trigger,
        pull_request=wish.pull_request,
        requested_by=wish.requested_by,
        requested_by_id=wish.requested_by_id,
        branch=wish.branch,
        base_branch=wish.base_branch,
        base_commit=wish.base_commit,
        config_commit=wish.config_commit,
        prunes=wish.prunes,
        take_over=wish.take_over,
        status=phase,
        message=wish.message,
        gates=wish.gates,
        inputs_digest=wish.inputs_digest,
        config_digest=wish.config_digest,
        policy_digest=wish.policy_digest,
        chain_digest=wish.chain_digest,
        approved_at=None if phase is Phase.WAITING else tx.now,
        deadline_at=None if phase is Phase.WAITING else tx.now + wish.patience,
        created_at=tx.now,
        due_at=tx.now,
    )
    tx.session.add(deployment)
    await tx.session.flush()
    return deployment


async def say(tx: Transaction, where: Place, deployment: Deployment, *, status: bool = True) -> None:
    """Queue the status, have the pull request's comment brought up to date, and log the step.

    Without `status` the commit shows already what there is to show.
    """
    if status and not await _overwritten(tx.session, deployment):
        said = await outbox.say_status(
            tx.session,
            repository_id=where.repository.id,
            commit=deployment.commit_hash,
            context=where.context,
            phase=deployment.status,
            text=describe(deployment),
            deployment_id=deployment.id,
            now=tx.now,
        )
        tx.ring("report", said)
    if deployment.pull_request is not None:
        comment = await outbox.say_comment(
            tx.session, repository_id=where.repository.id, number=deployment.pull_request, now=tx.now
        )
        tx.ring("report", comment)
    _log(tx, where, deployment)


def _log(tx: Transaction, where: Place, deployment: Deployment) -> None:
    judged = deployment.status in (Phase.WAITING, Phase.QUEUED)
    details: dict[str, Any] = {"gates": deployment.gates} if judged else {}
    log.record(
        tx.session,
        f"deployment.{deployment.status}",
        actor=deployment.requested_by,
        organization_id=where.project.organization_id,
        resource=("deployment", deployment.id),
        environment=where.environment.name,
        commit=deployment.commit_hash,
        number=deployment.number,
        reason=deployment.reason,
        effect=lifecycle.effect(
            Phase(deployment.status),
            deployment=deployment.id,
            environment=where.environment.id,
            number=deployment.number,
        ),
        **details,
    )


def _log_sync(tx: Transaction, where: Place, deployment: Deployment, step: str) -> None:
    """The same in the words of Git and Flux: a revision on its way to an object, and what came of it."""
    log.record(
        tx.session,
        f"gitops.sync.{step}",
        severity="error" if step == "failed" else "info",
        actor=deployment.requested_by,
        organization_id=where.project.organization_id,
        resource=("gitops_resource", deployment.gitops_resource_id),
        revision=deployment.commit_hash,
        environment=where.environment.name,
        deployment=str(deployment.id),
        number=deployment.number,
        phase=deployment.status,
        reason=deployment.reason,
    )


async def _overwritten(session: AsyncSession, deployment: Deployment) -> bool:
    """A context shows the newest deployment of its (revision, environment); an older one never writes after it."""
    query = sa.select(Deployment.id).where(
        Deployment.environment_id == deployment.environment_id,
        Deployment.commit_hash == deployment.commit_hash,
        Deployment.number > deployment.number,
    )
    return (await session.execute(query.limit(1))).scalar_one_or_none() is not None


def describe(deployment: Deployment) -> str:
    """One line about a deployment, as the status shows it."""
    phase, ended = Phase(deployment.status), deployment.finished_at
    other = deployment.live_revision or ""
    return status_text(
        phase,
        commit=deployment.commit_hash,
        message=deployment.message or "",
        seconds=(ended - deployment.begun_at).total_seconds() if ended else None,
        part_of=other if phase is Phase.SUCCEEDED else "",
        superseded_by=other if phase is Phase.SUPERSEDED else "",
        checked=deployment.message != NOT_CHECKED,
    )
