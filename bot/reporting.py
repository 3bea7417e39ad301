"""The one place that speaks to people: commit statuses in their order, and one comment per pull request.

Whoever has to be called gets a new comment, for nobody is told of an edit; so does a command on a commit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.calls import Call
from bot.core.config_changes import CHECK
from bot.core.conversation import (
    CommandResult,
    Conversation,
    EnvironmentRow,
    PastRow,
    SetupProgress,
    StepRow,
    calling,
    marker,
    render,
    tame,
)
from bot.core.deployments import Phase, short
from bot.core.errors import TemporaryError, UserError
from bot.core.ports import Check, CommitStatus, Forge
from bot.core.reasons import Verdict, from_json, markdown
from bot.store import deployments, gates, initialization, leases, log, outbox, projects, runs
from bot.store.transactions import Store
from models import Deployment, Environment, Notification, Pin, Project, ProjectInitializationStep, Repository, Run

REPORT_LIMIT = 60_000  # characters in a check
SHOWN_RESULTS = 30
SHOWN_PAST = 20  # deployments of a request to one environment
IN_TURN = timedelta(seconds=5)  # a status that waits for an earlier one is rung for when that was said


@dataclass(frozen=True)
class Reporter:
    """Sends what the outbox holds."""

    store: Store
    forges: Mapping[str, Forge]

    async def report(self, row: Notification) -> datetime | None:
        """Send one leased notification."""
        async with self.store.read() as session:
            repository = await session.get_one(Repository, row.repository_id)
        forge = self.forges.get(repository.provider)
        if forge is None:
            await self._settle(row, "failed", reason="forge_not_configured")
            return None
        try:
            if row.kind == "status":
                return await self._status(forge, repository, row)
            if row.context:
                await self._reply(forge, repository, row)
            else:
                await self._comment(forge, repository, row)
        except UserError as error:
            await self._settle(row, "failed", reason=f"{error.code}: {error.message}"[:500])
        return None

    async def give_up(self, row: Notification, why: str) -> None:
        """Put away what cannot be said."""
        await self._settle(row, "failed", reason=why)

    # Statuses.

    async def _status(self, forge: Forge, repository: Repository, row: Notification) -> datetime | None:
        async with self.store.read() as session:
            earlier = await outbox.before(session, row)
        if earlier is not None:
            self.store.bell.ring("report", earlier)
            return self.store.clock() + IN_TURN
        if not await forge.set_check(repository.full_name, row.target, await self._check(row)):
            await self._set_status(forge, repository, row)
        await self._settle(row, "sent")
        return None

    async def _check(self, row: Notification) -> Check:
        """The same as a check, which is asked for first: it has what is missing in it, and who can give it is asked."""
        async with self.store.read() as session:
            deployment = await session.get(Deployment, row.deployment_id) if row.deployment_id else None
        waits = deployment is not None and row.phase == deployment.status == Phase.WAITING
        verdict = from_json(deployment.gates) if deployment is not None and waits else Verdict()
        return Check(
            context=row.context,
            phase=row.phase or "",
            text=row.text or "",
            key=f"{row.deployment_id or row.target}:{row.sequence}",
            asks="approvals_missing" in {reason.code for reason in verdict.missing()},
            report=tame(markdown(verdict), REPORT_LIMIT),
        )

    async def _set_status(self, forge: Forge, repository: Repository, row: Notification) -> None:
        status = CommitStatus(context=row.context, phase=row.phase or "", text=row.text or "")
        if not await self._said_already(forge, repository, row, status):
            await self._attempt(row)
            await forge.set_status(repository.full_name, row.target, status)

    async def _said_already(
        self, forge: Forge, repository: Repository, row: Notification, status: CommitStatus
    ) -> bool:
        """Whether an interrupted attempt reached the forge; asked only where there was one."""
        if row.attempted_at is None:
            return False
        shown = await forge.statuses(repository.full_name, row.target, row.context)
        return bool(shown) and shown[0] == forge.shown(status)

    # The comment.

    async def _comment(self, forge: Forge, repository: Repository, row: Notification) -> None:
        number = int(row.target)
        async with self.store.read() as session:
            conversation = await _conversation(session, repository, number)
        body = render(conversation, forge.comment_limit)
        digest = hashlib.sha256(body.encode()).hexdigest()
        if digest == row.content_digest:
            await self._settle(row, "sent")
            return
        await self._attempt(row)
        id = await self._say(forge, repository, number, row.external_id, marker(conversation.key), body)
        await self._settle(row, "sent", external_id=id, content_digest=digest)

    async def _reply(self, forge: Forge, repository: Repository, row: Notification) -> None:
        """What came of one run, said once in a comment of its own: to a command on a commit, or to call somebody."""
        async with self.store.read() as session:
            run = await session.get_one(Run, UUID(row.context))
        key = f"{repository.provider}/{repository.forge_id}/{run.id}"
        name, mark = repository.full_name, marker(key)
        if run.pull_request is not None:
            find = partial(forge.find_comment, name, run.pull_request, mark)
            create = partial(forge.create_comment, name, run.pull_request, calling(key, run.actor, run.text or ""))
        else:
            told = Conversation(key=key, project=name, results=(_result(run, None),))
            find = partial(forge.find_commit_comment, name, row.target, mark)
            create = partial(forge.create_commit_comment, name, row.target, render(told, forge.comment_limit))
        found = await find() if row.attempted_at else None
        if found is None:
            await self._attempt(row)
            found = await create()
        await self._settle(row, "sent", external_id=found)

    async def _say(
        self, forge: Forge, repository: Repository, number: int, known: str | None, mark: str, body: str
    ) -> str:
        """Edit our comment, or make it; the known one may have been deleted, and another made by a try that was cut."""
        if known is not None and await forge.edit_comment(repository.full_name, known, body):
            return known
        found = await forge.find_comment(repository.full_name, number, mark)
        if found is not None and await forge.edit_comment(repository.full_name, found, body):
            return found
        return await forge.create_comment(repository.full_name, number, body)

    # What is written down.

    async def _attempt(self, row: Notification) -> None:
        """Before the forge is called: whoever finds this row again looks at the forge first."""
        async with self.store.write() as tx:
            ours = await leases.owned(tx.session, row)
            if ours is None:
                raise TemporaryError("another worker reports this")
            ours.attempted_at = tx.now

    async def _settle(self, row: Notification, status: str, *, reason: str | None = None, **facts: str) -> None:
        async with self.store.write() as tx:
            ours = await leases.owned(tx.session, row)
            if ours is None:
                raise TemporaryError("another worker reports this")
            ours.reason, ours.sent_at = reason, tx.now
            if ours.nudged == row.nudged:  # else there is news to tell: it stays queued, and due for whoever comes next
                ours.status, ours.due_at = status, None
            for name, value in facts.items():
                setattr(ours, name, value)
            following = await outbox.after(tx.session, ours)
            if following is not None:
                tx.ring("report", following)
            if status == "failed":
                log.record(
                    tx.session,
                    "report.failed",
                    event_type="system",
                    severity="error",
                    resource=("notification", row.id),
                    reason=reason,
                )


async def _conversation(session: AsyncSession, repository: Repository, number: int) -> Conversation:
    """All that the comment of a pull request shows."""
    found = await projects.of_repository(session, repository.id)
    setups = await _setups(session, found, number)
    results, more = await _results(session, repository, number)
    return Conversation(
        key=f"{repository.provider}/{repository.forge_id}/{number}",
        project=found[0].name if len(found) == 1 else repository.full_name,
        setups=tuple(setups),
        environments=tuple(await _environments(session, repository, number)),
        configuration=await runs.last_told(session, repository.id, CHECK, number) or "",
        results=tuple(results),
        more=more,
    )


async def _setups(session: AsyncSession, found: Sequence[Project], number: int) -> list[SetupProgress]:
    """How far those projects are that were last enabled in this pull request."""
    result = []
    for project in found:
        run = await session.get(Run, project.initialization_job_id) if project.initialization_job_id else None
        if run is not None and run.pull_request == number:
            steps = await initialization.steps(session, project.id)
            result.append(SetupProgress(project=project.name, steps=tuple(_step(row) for row in steps)))
    return result


def _step(row: ProjectInitializationStep) -> StepRow:
    return StepRow(
        title=row.display_name,
        weight=row.weight,
        status=row.status,
        progress=row.progress,
        seconds=None if row.duration_ms is None else row.duration_ms / 1000,
        said=row.details.get("said", ""),
        error=row.error or "",
        code=row.error_code,
    )


async def _environments(session: AsyncSession, repository: Repository, number: int) -> list[EnvironmentRow]:
    """What the pull request did to each environment that it went to."""
    rows = []
    for _, environment in await projects.environments(session, repository.id):
        query = (
            sa.select(Deployment)
            .where(Deployment.environment_id == environment.id, Deployment.pull_request == number)
            .order_by(Deployment.number.desc())
            .limit(SHOWN_PAST + 2)
        )
        found = (await session.execute(query)).scalars().all()
        if not found:
            continue
        deployment, *past = found
        pin = await projects.live_pin(session, environment.id)
        place = await deployments.place(session, environment.id)
        broken = await gates.broken_text(session, environment, pin, deployment.commit_hash)
        rows.append(
            EnvironmentRow(
                name=place.title,
                phase=Phase.FAILED if broken else Phase(deployment.status),
                commit=deployment.commit_hash,
                branch=environment.branch,
                pinned_to=_pinned_to(environment, pin),
                when=deployment.finished_at or deployment.created_at,
                message=broken or _remark(deployment),
                gates=_gates(deployment),
                past=tuple(_past(each) for each in past[:SHOWN_PAST]),
                older=len(past) > SHOWN_PAST,
            )
        )
    return rows


def _pinned_to(environment: Environment, pin: Pin | None) -> int | str | None:
    """A pull request, or a commit; a protected environment follows nothing, also while nothing was let through."""
    if pin is not None:
        return pin.pull_request or short(pin.commit_hash)
    return "nothing yet" if deployments.rules_of(environment).protected else None


def _gates(deployment: Deployment) -> str:
    return markdown(from_json(deployment.gates)) if deployment.status == Phase.WAITING else ""


def _past(deployment: Deployment) -> PastRow:
    return PastRow(
        number=deployment.number,
        phase=Phase(deployment.status),
        commit=deployment.commit_hash,
        by=deployment.requested_by,
        when=deployment.finished_at,
        message=_remark(deployment),
    )


def _remark(deployment: Deployment) -> str:
    """What the word for the phase does not say."""
    taken = f"took over {', '.join(deployment.take_over)}" if deployment.take_over else ""
    return "; ".join(each for each in (_said(deployment), taken) if each)


def _said(deployment: Deployment) -> str:
    other = deployment.live_revision
    if deployment.status == Phase.WAITING and deployment.gates:
        return ""  # the gates say it below
    if deployment.status == Phase.SUPERSEDED and other:
        return f"by {short(other)}"
    if deployment.status == Phase.SUCCEEDED and other:
        return f"as part of {short(other)}"
    return deployment.message or ""


async def _results(session: AsyncSession, repository: Repository, number: int) -> tuple[list[CommandResult], int]:
    """What came of the last commands, newest first, and how many there were before."""
    mine = sa.and_(
        Run.repository_id == repository.id,
        Run.pull_request == number,
        Run.finished_at.is_not(None),
        Run.status.in_(("done", "refused", "failed")),
        Run.name != CHECK,  # it has a place of its own
    )
    # Within one comment the line is the last part of the key: 10 comes after 9.
    newest_first = (Run.received_at.desc(), sa.func.length(Run.key).desc(), Run.key.desc())
    query = sa.select(Run).where(mine).order_by(*newest_first).limit(SHOWN_RESULTS)
    found = (await session.execute(query)).scalars().all()
    count = (await session.execute(sa.select(sa.func.count()).select_from(Run).where(mine))).scalar_one()
    stopped = await initialization.stopped(session, [run.id for run in found])
    return [_result(run, stopped.get(run.id)) for run in found], count - len(found)


def _result(run: Run, stopped: ProjectInitializationStep | None) -> CommandResult:
    call = msgspec.convert(run.call, Call)
    written = " ".join((f"/{call.name}", *call.words)) if call.kind == "command" else call.arguments.get("written", "…")
    text, code, failed = run.text or "", run.code, run.status == "failed"
    if stopped is not None:  # why, and what to do, its own line says
        text, code, failed = f"stopped at “{stopped.display_name}”", stopped.error_code, True
    return CommandResult(command=written, by=run.actor, text=text, code=code, failed=failed, when=run.finished_at)
