"""Commits of the bot's own: each is a row before it is made, and says how it ended."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.store import log
from bot.store.transactions import Transaction
from models import GitSyncLog, Repository, Run


def id_of(run_id: UUID, branch: str) -> UUID:
    """The row of what a run commits to a branch: there is one, however often the run is taken up."""
    return uuid5(run_id, branch)


async def begin(
    tx: Transaction,
    repository: Repository,
    run_id: UUID,
    branch: str,
    *,
    project_id: UUID | None,
    base: str,
    files: Sequence[str],
    message: str,
    author: str,
) -> GitSyncLog:
    """Note a commit that is about to be made; once more for the same run and branch counts another attempt."""
    row = await tx.session.get(GitSyncLog, id_of(run_id, branch))
    if row is None:
        row = GitSyncLog(id=id_of(run_id, branch), repository_id=repository.id, project_id=project_id, run_id=run_id)
        row.branch, row.attempts, row.conflict = branch, 0, "none"
        tx.session.add(row)
    row.base_commit, row.files, row.message, row.author = base, list(files), message, author
    row.status, row.error, row.attempts = "pending", None, row.attempts + 1
    await tx.session.flush()
    return row


async def end(tx: Transaction, repository: Repository, id: UUID, status: str, **facts: Any) -> None:
    """Say how it ended, once; `facts` are columns."""
    row = await tx.session.get(GitSyncLog, id)
    if row is None or row.status == "committed":
        return
    row.status = status
    for name, value in facts.items():
        setattr(row, name, value)
    log.record(
        tx.session,
        f"git.commit.{status}",
        event_type="audit",
        severity="warning" if status == "failed" else "info",
        actor=row.author,
        organization_id=repository.organization_id,
        resource=("git_sync_log", row.id),
        repository=repository.full_name,
        branch=row.branch,
        commit=row.commit_hash,
        base=row.base_commit,
        files=row.files,
        run=str(row.run_id),
        conflict=row.conflict,
        error=row.error,
    )


async def askers(session: AsyncSession, repository_id: UUID, commits: Iterable[str]) -> set[str]:
    """The accounts that asked for those of the commits which Sluice made."""
    query = (
        sa.select(Run.call)
        .join(GitSyncLog, GitSyncLog.run_id == Run.id)
        .where(GitSyncLog.repository_id == repository_id, GitSyncLog.commit_hash.in_(set(commits)))
    )
    return {call["actor_id"] for call in (await session.execute(query)).scalars() if call.get("actor_id")}


async def note_conflict(tx: Transaction, id: UUID, conflict: str) -> None:
    """Remember that somebody else had pushed meanwhile."""
    await tx.session.execute(sa.update(GitSyncLog).where(GitSyncLog.id == id).values(conflict=conflict))


async def note_pull_request(tx: Transaction, id: UUID, number: int) -> None:
    """Remember by which pull request a commit is proposed."""
    await tx.session.execute(sa.update(GitSyncLog).where(GitSyncLog.id == id).values(pull_request=number))


async def given_up(tx: Transaction, repository: Repository, run_id: UUID, why: str) -> None:
    """End what a run left open when it was given up: nothing stays pending for ever."""
    for id in await _pending(tx.session, run_id):
        await end(tx, repository, id, "failed", error=why)


async def _pending(session: AsyncSession, run_id: UUID) -> Sequence[UUID]:
    query = sa.select(GitSyncLog.id).where(GitSyncLog.run_id == run_id, GitSyncLog.status == "pending")
    return (await session.execute(query)).scalars().all()
