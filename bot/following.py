"""An environment that follows a branch is kept where it is, and follows again when nobody keeps it any more."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from bot import pinning
from bot.context import Context
from bot.core.deployments import UNSETTLED, Phase
from bot.core.errors import TemporaryError, UserError
from bot.inputs import read
from bot.store import deployments, holds, locks, pins, projects, stands
from bot.store.deployments import Place, Wish, patience, rules_of
from bot.store.transactions import Transaction
from models import Environment, GitopsResource


@dataclass(frozen=True)
class Spot:
    """A commit with all that a deployment of it needs."""

    commit: str
    branch: str
    inputs_digest: str
    config_digest: str
    newest: int = 0  # the number of the environment's newest deployment when this was read


def follows(environment: Environment) -> bool:
    """Whether an environment goes by its branch when nobody keeps it."""
    return rules_of(environment).follows


async def kept(session: AsyncSession, environment: Environment, now: datetime) -> str | None:
    """What keeps an environment where it is, in words; None if nothing does."""
    lock = await locks.held(session, environment.id, now)
    if lock is not None:
        return f"it is locked by {lock.owner}"
    return "it is held" if await holds.live(session, environment.id) is not None else None


# Staying.


async def stay(ctx: Context, where: Place) -> Spot | None:
    """Where an environment that goes by its branch is to be pinned; None if it is pinned already, or never follows."""
    environment = where.environment
    if not follows(environment):
        return None
    async with ctx.store.read() as session:
        if await projects.live_pin(session, environment.id) is not None:
            return None
        commit, newest = await _present(session, where)
        twin = await deployments.last_of_commit(session, environment.id, commit)
    branch = await pinning.reach(ctx.forge, where, commit)
    inputs, config = (twin.inputs_digest, twin.config_digest) if twin else await _read(ctx, where, commit)
    return Spot(commit, branch, inputs, config, newest)


async def pin(tx: Transaction, ctx: Context, where: Place, spot: Spot) -> None:
    """Pin it there, if it is not pinned meanwhile."""
    environment = where.environment
    if await projects.live_pin(tx.session, environment.id) is not None:
        return
    last = await deployments.newest(tx.session, environment.id)
    if (last.number if last else 0) != spot.newest:
        raise TemporaryError(f"{where.title} moved meanwhile", delay=0.1)
    source = await pins.own_source(tx, where)
    await stands.at_once(tx, where, _wish(ctx, where, spot, source, "lock"), own=True, branch=spot.branch)


async def _present(session: AsyncSession, where: Place) -> tuple[str, int]:
    """What an environment has, or is on its way to; and the number of its newest deployment."""
    newest = await deployments.newest(session, where.environment.id)
    if newest is not None and newest.status in UNSETTLED and newest.status != Phase.WAITING:
        return newest.commit_hash, newest.number
    applied = await session.get_one(GitopsResource, where.environment.gitops_resource_id)
    commit = await deployments.live_commit(session, where.environment.id, applied)
    if commit is None:
        raise UserError("nothing_live", f"nothing is live in {where.title} yet, so there is nothing to keep")
    return commit, newest.number if newest else 0


# Following again.


async def head(ctx: Context, where: Place) -> Spot:
    """The newest commit of an environment's branch."""
    branch = where.environment.branch
    commit = await ctx.forge.branch_head(ctx.repository.full_name, branch)
    if commit is None:
        raise UserError("branch_missing", f"{where.title} stays pinned: there is no branch {branch}")
    return Spot(commit, branch, *await _read(ctx, where, commit))


async def again(tx: Transaction, ctx: Context, where: Place, spot: Spot, *, number: int | None = None) -> None:
    """End the pin, and open a deployment of the branch's head by the shared source."""
    await stands.at_once(tx, where, await unpinning(tx, ctx, where, spot, number=number))


async def unpinning(tx: Transaction, ctx: Context, where: Place, spot: Spot, *, number: int | None = None) -> Wish:
    """The wish for a spot by the shared source."""
    source = await projects.followed(tx.session, where.project, where.environment)
    return _wish(ctx, where, spot, source, "unpin", number=number)


# What a deployment is opened with.


def _wish(
    ctx: Context, where: Place, spot: Spot, source: GitopsResource, trigger: str, *, number: int | None = None
) -> Wish:
    return Wish(
        commit=spot.commit,
        source_id=source.id,
        trigger=trigger,
        requested_by=ctx.run.actor,
        inputs_digest=spot.inputs_digest,
        config_digest=spot.config_digest,
        policy_digest=ctx.policy_digest,
        run_id=ctx.run.id,
        pull_request=number if number is not None else ctx.call.number,
        patience=patience(where.environment),
    )


async def _read(ctx: Context, where: Place, commit: str) -> tuple[str, str]:
    found = await read(ctx.forge, where, commit)
    return found.inputs_digest, found.config_digest
