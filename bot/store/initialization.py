"""Enabling projects, as rows: who may, how each step began and ended, and the last, which the objects end."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import initialization, manifests, sightings
from bot.core.deployments import UNSETTLED, Phase, commit_of
from bot.core.errors import TemporaryError, UserError
from bot.core.initialization import (
    COMPLETED,
    FAILED,
    PENDING,
    REPORT,
    RUNNING,
    SETUP,
    STEPS,
    VERIFY,
    WRITTEN,
    Resource,
    Step,
)
from bot.store import leases, log, outbox
from bot.store.transactions import Transaction
from models import Deployment, Environment, GitopsResource, Project, Repository, Run
from models import ProjectInitializationStep as Row

SAID_AFTER = 1.0  # seconds: steps that follow each other quickly are shown by one edit of the comment
KINDS = {
    "git-repository": "GitRepository",
    "kustomization": "Kustomization",
    "helm-release": "HelmRelease",
    "helm-repository": "HelmRepository",
    "oci-repository": "OCIRepository",
}


# Who may.


async def claim(tx: Transaction, repository: Repository, run: Run, bases: Mapping[str, str]) -> list[Project]:
    """The projects of a repository for one run alone, by name; made where they are new.

    `bases` says for each name what its steps depend on: a step that was completed on the same basis stands. The claim
    holds until the run has ended, so that one that was interrupted finds its own. UserError `enable_running` names who
    has it.
    """
    await tx.session.execute(sa.select(Repository.id).where(Repository.id == repository.id).with_for_update())
    found = await _projects(tx.session, repository.id)
    _refuse_disabling(found)
    await _refuse_second(tx.session, run, found)
    empty = await _without_environments(tx.session, found)
    return [
        await _claimed(tx, run, project, bases[project.name])
        for project in _matched(tx, repository, found, empty, bases)
    ]


async def _projects(session: AsyncSession, repository_id: UUID) -> Sequence[Project]:
    query = sa.select(Project).where(Project.repository_id == repository_id, Project.deleted_at.is_(None))
    return (await session.execute(query.order_by(Project.slug))).scalars().all()


def _refuse_disabling(found: Iterable[Project]) -> None:
    going = [project.name for project in found if project.status == "disabling"]
    if going:
        raise UserError("wrong_state", f"`{going[0]}` is being disabled; repeat this when it is gone")


async def _refuse_second(session: AsyncSession, run: Run, found: Iterable[Project]) -> None:
    holders = {project.initialization_job_id: project for project in found if project.initialization_job_id != run.id}
    query = sa.select(Run).where(Run.id.in_([id for id in holders if id]), Run.finished_at.is_(None))
    other = (await session.execute(query.limit(1))).scalar_one_or_none()
    if other is None:
        return
    since = holders[other.id].initialization_started_at
    when = f" since {since:%H:%M:%S} UTC" if since else ""
    raise UserError(
        "enable_running", f"an `/enable` of {other.actor} is under way{when}; repeat yours when it has ended"
    )


def _matched(
    tx: Transaction, repository: Repository, found: Sequence[Project], empty: list[Project], names: Iterable[str]
) -> list[Project]:
    """The project of each name. One that never got as far as an environment gives its row to a name that is new."""
    wanted, known = list(names), {project.slug: project for project in found}
    spare = [project for project in empty if project.slug not in wanted]
    result = []
    for name in wanted:
        project = known.get(name) or (spare.pop() if spare else _new(tx, repository))
        project.name = project.slug = name
        result.append(project)
    return result


async def _without_environments(session: AsyncSession, found: Sequence[Project]) -> list[Project]:
    query = sa.select(Environment.project_id).where(Environment.project_id.in_([project.id for project in found]))
    used = set((await session.execute(query)).scalars())
    return [project for project in found if project.id not in used]


def _new(tx: Transaction, repository: Repository) -> Project:
    id = uuid.uuid4()
    project = Project(
        id=id,
        organization_id=repository.organization_id,
        repository_id=repository.id,
        namespace=manifests.project_namespace(id),
    )
    tx.session.add(project)
    return project


async def _claimed(tx: Transaction, run: Run, project: Project, basis: str) -> Project:
    """Note whose it is, and put back to the beginning what has to be carried out again.

    A run that was interrupted finds everything as it left it, unless the configuration is another one now.
    """
    await tx.session.flush()
    rows = await steps(tx.session, project.id) or [_row(tx, project, step, number) for number, step in enumerate(STEPS)]
    same_basis = all(row.details.get("basis") == basis for row in rows)
    if project.initialization_job_id == run.id and same_basis:
        return project
    unfinished = project.status != "active"
    if project.initialization_job_id != run.id:
        _log(tx, project, "project.initialization.started", actor=run.actor)
    project.initialization_job_id, project.initialization_started_at = run.id, tx.now
    project.status, project.initialization_error, project.initialization_completed_at = "initializing", None, None
    standing = True
    for row, step in zip(rows, STEPS, strict=True):
        keeps = initialization.stands(step, status=row.status, same_basis=same_basis, unfinished=unfinished)
        standing = standing and (keeps or step.afresh)
        if not (standing and keeps):
            _reset(row, basis)
        row.run_id = run.id
    await tx.session.flush()
    return project


def _row(tx: Transaction, project: Project, step: Step, number: int) -> Row:
    row = Row(
        id=uuid.uuid4(),
        project_id=project.id,
        step=step.name,
        display_name=step.title,
        sequence=number + 1,
        weight=step.weight,
        status=PENDING,
        details={},
    )
    tx.session.add(row)
    return row


def _reset(row: Row, basis: str) -> None:
    row.status, row.progress, row.details = PENDING, 0, {"basis": basis}
    row.started_at = row.completed_at = row.duration_ms = row.error = row.error_code = None


# The steps that a run carries out.


async def steps(session: AsyncSession, project_id: UUID) -> Sequence[Row]:
    """The steps of a project in their order."""
    query = sa.select(Row).where(Row.project_id == project_id).order_by(Row.sequence)
    return (await session.execute(query)).scalars().all()


async def begin(tx: Transaction, run: Run, project: Project, step: Step, **facts: Any) -> bool:
    """Whether the step is to be carried out now; False if it was before. One that failed in this run fails again."""
    row = await _mine(tx.session, run, project, step)
    if row.status == COMPLETED:
        return False
    if row.status == FAILED:
        raise UserError(row.error_code or "gave_up", row.error or "")
    row.status, row.started_at = RUNNING, row.started_at or tx.now
    row.details = row.details | facts
    await _say(tx, run, project, after=0.0 if step is STEPS[0] else SAID_AFTER)
    return True


async def trouble(tx: Transaction, run: Run, project: Project, step: Step, why: str) -> bool:
    """Note what keeps a step from going on; False if it was waited for long enough."""
    row = await _mine(tx.session, run, project, step)
    row.details = row.details | {"said": f"trying again: {why}"}
    await _say(tx, run, project)
    return row.started_at is None or tx.now - row.started_at < step.patience


async def complete(tx: Transaction, run: Run, project: Project, step: Step, details: Mapping[str, Any]) -> None:
    """The step did what it should; `details` are kept, and what they say under `said` is shown."""
    row = await _mine(tx.session, run, project, step)
    _completed(row, tx.now, details)


async def fail(tx: Transaction, run: Run, project: Project, step: Step, error: UserError) -> None:
    """The step cannot go on; the project is not enabled before a person has done something about it."""
    row = await _mine(tx.session, run, project, step)
    await _failed(tx, project.id, row, error.code, error.message)
    await _say(tx, run, project)


async def abandon(tx: Transaction, run: Run, code: str, why: str) -> None:
    """A run ended without bringing its steps to an end: the one that it was in says why."""
    query = sa.select(Project.id).where(Project.initialization_job_id == run.id, Project.status == "initializing")
    for project_id in (await tx.session.execute(query)).scalars().all():
        row = next(row for row in await steps(tx.session, project_id) if row.status != COMPLETED)
        if row.step != VERIFY.name or row.status == PENDING:
            await _failed(tx, project_id, row, code, why)


async def _mine(session: AsyncSession, run: Run, project: Project, step: Step) -> Row:
    """The row of a step, for writing, while the run is leased and the project is its own."""
    if await leases.owned(session, run) is None:
        raise TemporaryError("the lease on the run was lost")
    query = sa.select(Row).where(Row.project_id == project.id, Row.step == step.name, Row.run_id == run.id)
    return (await session.execute(query.with_for_update())).scalar_one()


def _completed(row: Row, now: datetime, details: Mapping[str, Any] = {}) -> None:
    row.status, row.progress, row.completed_at = COMPLETED, 100, now
    row.started_at = row.started_at or now
    row.duration_ms = round((now - row.started_at).total_seconds() * 1000)
    row.details = {name: value for name, value in row.details.items() if name != "said"} | dict(details)
    row.error = row.error_code = None


async def _failed(tx: Transaction, project_id: UUID, row: Row, code: str, message: str) -> None:
    row.status, row.error_code, row.error = FAILED, code, message
    row.duration_ms = round((tx.now - row.started_at).total_seconds() * 1000) if row.started_at else 0
    project = await tx.session.get_one(Project, project_id)
    project.status, project.initialization_error = "failed", f"{row.display_name}: {message}"[:1000]
    _log(tx, project, "project.initialization.failed", "error", step=row.step, code=code, error=message[:1000])


def _log(tx: Transaction, project: Project, action: str, severity: str = "info", **details: Any) -> None:
    log.record(
        tx.session,
        action,
        event_type="audit",
        severity=severity,
        organization_id=project.organization_id,
        resource=("project", project.id),
        **details,
    )


async def _say(tx: Transaction, run: Run, project: Project, *, after: float = 0.0) -> None:
    """Have the pull request's comment show how far it is; `after` is in seconds."""
    if run.pull_request is None:
        return
    comment = await outbox.say_comment(
        tx.session, repository_id=project.repository_id, number=run.pull_request, now=tx.now
    )
    tx.ring("report", comment, after=after)


# The step that the objects end.


async def hand_over(
    tx: Transaction,
    run: Run,
    project: Project,
    *,
    resources: Sequence[UUID],
    waiting: Sequence[str],
    deadline: datetime,
) -> None:
    """Leave the verification to those who see the objects change, until the deadline.

    `waiting` are the environments to which nothing was let through yet: as good as ready.
    """
    ids = [str(id) for id in resources]
    await begin(tx, run, project, VERIFY, resources=ids, waiting=list(waiting), deadline=deadline.isoformat())


async def unfinished(session: AsyncSession) -> Sequence[UUID]:
    """The projects that are being enabled."""
    query = sa.select(Project.id).where(Project.status == "initializing", Project.deleted_at.is_(None))
    return (await session.execute(query)).scalars().all()


async def stopped(session: AsyncSession, run_ids: Sequence[UUID]) -> Mapping[UUID, Row]:
    """By run, the step that it failed at."""
    query = sa.select(Row).where(Row.run_id.in_(run_ids), Row.status == FAILED)
    return {row.run_id: row for row in (await session.execute(query)).scalars() if row.run_id is not None}


async def look(tx: Transaction, project_id: UUID) -> None:
    """See what became of a project's objects; when all are ready the project is enabled.

    It may be called at any time and any number of times. One that failed here becomes enabled as well, once what was
    wrong is mended by a push.
    """
    project = await tx.session.get_one(Project, project_id)
    row = await _open_verification(tx.session, project_id)
    if row is None or project.status not in ("initializing", "failed"):
        return
    resources = await _resources(tx.session, row)
    deadline, waiting = datetime.fromisoformat(row.details["deadline"]), row.details.get("waiting", ())
    found = initialization.verdict(resources, now=tx.now, deadline=deadline, waiting=waiting)
    match found:
        case initialization.Verified():
            await _finish(tx, row, found)
        case initialization.Broken() if row.status == RUNNING:
            await _failed(tx, project_id, row, found.code, found.message)
        case initialization.Underway() if row.status == RUNNING and row.details.get("said") != found.said:
            row.progress, row.details = found.progress, row.details | {"said": found.said}
        case _:
            return
    await _tell(tx, row)


async def _open_verification(session: AsyncSession, project_id: UUID) -> Row | None:
    query = sa.select(Row).where(
        Row.project_id == project_id, Row.step == VERIFY.name, Row.status.in_((RUNNING, FAILED))
    )
    row = (await session.execute(query.with_for_update())).scalar_one_or_none()
    return row if row is not None and "resources" in row.details else None


async def _resources(session: AsyncSession, step: Row) -> list[Resource]:
    ids = [UUID(id) for id in step.details["resources"]]
    query = sa.select(GitopsResource).where(GitopsResource.id.in_(ids), GitopsResource.deleted_at.is_(None))
    rows = (await session.execute(query.order_by(GitopsResource.type.desc(), GitopsResource.name))).scalars().all()
    began = step.started_at or datetime.max.replace(tzinfo=UTC)
    setup = sa.select(Row.details).where(Row.project_id == step.project_id, Row.step == SETUP.name)
    written = (await session.execute(setup)).scalar_one().get(WRITTEN, {})
    return [_resource(row, await _newest(session, row, began), began, written) for row in rows]


async def _newest(session: AsyncSession, row: GitopsResource, began: datetime) -> Deployment | None:
    """The last deployment through an object since then; through a source, one that goes on, else one that succeeded."""
    since = sa.select(Deployment).where(Deployment.created_at >= began)
    if row.type in ("kustomization", "helm-release"):
        query = since.where(Deployment.gitops_resource_id == row.id).order_by(Deployment.number.desc())
    else:
        query = since.where(Deployment.source_id == row.id, Deployment.status.in_((*UNSETTLED, Phase.SUCCEEDED)))
        query = query.order_by(Deployment.status.in_(UNSETTLED).desc(), Deployment.created_at.desc())
    return (await session.execute(query.limit(1))).scalar_one_or_none()


def _resource(
    row: GitopsResource, deployment: Deployment | None, began: datetime, written: Mapping[str, str]
) -> Resource:
    seen, kind, name = row.last_status_update_at, KINDS[row.type], f"{row.namespace}/{row.name}"
    version = written.get(initialization.written_key(row.cluster, kind, name))
    return Resource(
        name=f"{kind} `{name}`",
        status=row.status,
        reason=row.status_reason,
        message=row.status_message,
        fresh=seen is not None and seen >= began,
        current=sightings.has_reached(row.config.get(sightings.VERSION), version),
        phase=_phase(row, deployment),
        phase_code=deployment.reason if deployment else None,
        phase_message=deployment.message if deployment else None,
    )


def _phase(row: GitopsResource, deployment: Deployment | None) -> Phase | None:
    """A source has done its part as soon as it holds the commit."""
    if deployment is None:
        return None
    holds = row.type == "git-repository" and commit_of(row.last_applied_revision) == deployment.commit_hash
    return Phase.SUCCEEDED if holds else Phase(deployment.status)


async def _finish(tx: Transaction, row: Row, found: initialization.Verified) -> None:
    """Everything is ready: that is reported, and the project is enabled."""
    _completed(row, tx.now, {"said": found.said})
    query = sa.select(Row).where(Row.project_id == row.project_id, Row.step == REPORT.name)
    _completed((await tx.session.execute(query)).scalar_one(), tx.now)
    project = await tx.session.get_one(Project, row.project_id)
    project.status, project.initialization_completed_at, project.initialization_error = "active", tx.now, None
    _log(tx, project, "project.enabled")


async def _tell(tx: Transaction, row: Row) -> None:
    run = await tx.session.get(Run, row.run_id) if row.run_id else None
    if run is not None:
        await _say(tx, run, await tx.session.get_one(Project, row.project_id))
