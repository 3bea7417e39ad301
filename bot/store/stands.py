"""An environment's stand as the decisions of `core.releases` want it, and their changes, made in one transaction."""

from collections.abc import Sequence
from typing import assert_never
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import releases
from bot.core.arrivals import reopen_call
from bot.core.deployments import Phase
from bot.core.reasons import Verdict, as_json
from bot.core.releases import Change, Line, Stand, Wanted
from bot.store import approvals, deployments, holds, pins, projects, runs
from bot.store.deployments import Place, Wish
from bot.store.transactions import Transaction
from models import Deployment, Environment, GitopsResource


async def read(session: AsyncSession, environment: Environment) -> Stand:
    """How an environment stands. Lock it first (`deployments.one_at_a_time`) if anything is to be decided by it."""
    pin = await projects.live_pin(session, environment.id)
    last = await deployments.newest(session, environment.id, without=deployments.NOT_LET_THROUGH)
    return Stand(
        lines=tuple([await _line(session, row) for row in await deployments.unsettled(session, environment.id)]),
        pin=pin.commit_hash if pin else None,
        live_inputs=last.inputs_digest if last else None,
        held=await holds.live(session, environment.id) is not None,
        displaced=await _displaced(session, environment.id, last.number if last else 0),
    )


async def _displaced(session: AsyncSession, environment_id: UUID, since: int) -> UUID | None:
    """What the newest push brought and something else took the place of, since a deployment was let through."""
    brought = await deployments.newest(session, environment_id, triggers=releases.BY_BRANCH)
    if brought is None or brought.number < since:
        return None
    return brought.id if brought.status == Phase.SUPERSEDED and brought.reason is None else None


async def _line(session: AsyncSession, row: Deployment) -> Line:
    source = await session.get_one(GitopsResource, row.source_id)
    voices = await approvals.live(session, row.id) if row.status == Phase.WAITING else ()
    return Line(
        id=row.id,
        number=row.number,
        phase=Phase(row.status),
        commit=row.commit_hash,
        inputs=row.inputs_digest,
        chain=row.chain_digest,
        trigger=row.trigger,
        own=source.environment_id is not None and source.type == "git-repository",
        source=source.id,
        request=row.pull_request,
        base=row.base_branch,
        approved=frozenset(voice.provider_account_id for voice in voices),
    )


async def at_once(
    tx: Transaction, where: Place, wish: Wish, *, own: bool = False, branch: str | None = None
) -> Deployment | None:
    """Decide on what asks for nobody's leave, once for a run. `own`: it is pinned; else it goes by what is shared."""
    found = await deployments.of_run(tx.session, wish.run_id, where.environment.id)
    if found is not None:
        return found
    changes = releases.decide(await read(tx.session, where.environment), wanted(wish, own=own))
    return await apply(tx, where, changes, wish=wish, branch=branch)


def wanted(wish: Wish, *, own: bool) -> Wanted:
    """A wish as the decisions want it, every gate open."""
    return Wanted(
        commit=wish.commit,
        inputs=wish.inputs_digest,
        chain=wish.chain_digest,
        trigger=wish.trigger,
        request=wish.pull_request,
        own=own,
        source=wish.source_id,
    )


async def apply(
    tx: Transaction,
    where: Place,
    changes: Sequence[Change],
    *,
    wish: Wish | None = None,
    verdict: Verdict | None = None,
    branch: str | None = None,
    by: str = "",
) -> Deployment | None:
    """Make the changes; the deployment that was opened or let go.

    `wish` is what an `Open` opens; `branch` is that by which Flux reaches what is pinned, `by` who caused it.
    """
    made: Deployment | None = None
    for change in changes:
        match change:
            case releases.End():
                await _end(tx, where, change, wish)
            case releases.VoidVoices():
                row = await tx.session.get_one(Deployment, change.id)
                await approvals.void(tx, where, row, change.reason, change.accounts)
            case releases.Open():
                assert wish is not None
                made = await deployments.insert(tx, where, wish, change.phase)
                await deployments.begin(tx, where, made)
            case releases.Record():
                assert wish is not None
                made = await deployments.open_overtaken(tx, where, wish, by=change.by)
            case releases.Release():
                made = await tx.session.get_one(Deployment, change.id)
                made.branch = branch
                await deployments.release(tx, where, made, gates=as_json(verdict or Verdict()))
            case releases.Pin():
                assert made is not None
                await pins.set_(tx, made, branch=branch or where.environment.branch, pinned_by=by or made.requested_by)
            case releases.Unpin():
                pin = await projects.live_pin(tx.session, where.environment.id)
                if pin is not None:
                    await pins.end(tx, pin)
            case releases.Hold():
                assert made is not None
                await holds.set_(tx, where, made, by=by or made.requested_by, reason=change.reason)
            case releases.Reopen():
                await _reopen(tx, where, change)
            case releases.EndHold():
                hold = await holds.live(tx.session, where.environment.id)
                if hold is not None:
                    await holds.end(tx, where, hold, by=by)
            case _:
                assert_never(change)
    return made


async def _reopen(tx: Transaction, where: Place, change: releases.Reopen) -> None:
    row, repository = await tx.session.get_one(Deployment, change.id), where.repository
    environment = await tx.session.get_one(Environment, row.environment_id, populate_existing=True)
    call = reopen_call(
        repository.provider,
        repository.forge_id,
        environment.branch,
        environment.id,
        environment.last_number,
        actor=row.requested_by,
        actor_id=row.requested_by_id or "",
    )
    await runs.start(tx, repository, call)


async def _end(tx: Transaction, where: Place, change: releases.End, wish: Wish | None) -> None:
    """The status of a commit that is deployed anew says that at once, not first how the older one ended."""
    row = await tx.session.get_one(Deployment, change.id)
    again = wish is not None and wish.commit == row.commit_hash
    text = change.text.replace("`", "") if change.text else None  # statuses know no Markdown
    facts = {"reason": change.reason, "message": text, "live_revision": change.by}
    await deployments.move(tx, where, row, change.phase, silent=again, **facts)
