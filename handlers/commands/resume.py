"""Let deployments come in again after a rollback, or end a pin."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import following
from bot.context import Context
from bot.core.conversation import escape
from bot.core.deployments import short
from bot.core.errors import UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.following import Spot
from bot.registry import command
from bot.store import deployments, holds, locks, projects
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from bot.targets import chosen
from models import Pin


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to go on."""

    target: Annotated[str, Meta(description="[project/]environment")]


@command("resume", needs=Role.DEPLOYER)
async def resume(ctx: Context, args: Args) -> Result:
    """Let deployments come in again after a rollback, or end the pin of a pull request.

    An environment that follows its branch goes to its head. A protected one stays at what it has, and the
    newest revision of its branch is opened as a deployment that waits for what the environment asks for.
    """
    lines = [await _one(ctx, where) for where in await chosen(ctx, (args.target,))]
    return done("\n".join(lines))


async def _one(ctx: Context, where: Place) -> str:
    spot = await following.head(ctx, where)
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        if await deployments.of_run(tx.session, ctx.run.id, where.environment.id) is not None:
            return _follows(where, spot)
        await refuse_others_lock(tx, ctx, where)
        return await _resume(tx, ctx, where, spot)


async def _resume(tx: Transaction, ctx: Context, where: Place, spot: Spot) -> str:
    environment, by = where.environment, ctx.run.actor
    hold = await holds.live(tx.session, environment.id)
    pin = await projects.live_pin(tx.session, environment.id)
    if hold is None and pin is None:
        raise UserError("nothing_to_resume", f"`{where.title}` is not held, and follows `{environment.branch}` already")
    if hold is not None:
        await holds.end(tx, where, hold, by=by)
    lock = await locks.held(tx.session, environment.id, tx.now)
    if lock is not None:
        return _stays(where, pin, lock.owner)
    if pin is not None:
        await following.again(tx, ctx, where, pin, spot)
    return _follows(where, spot)


async def refuse_others_lock(tx: Transaction, ctx: Context, where: Place) -> None:
    """UserError `lock_conflict` while somebody else keeps the environment."""
    lock = await locks.kept_from(tx.session, where.environment.id, ctx.run.actor, ctx.call.actor_id, tx.now)
    if lock is not None:
        raise UserError("lock_conflict", f"`{where.title}` is locked by {escape(lock.owner)}")


def _follows(where: Place, spot: Spot) -> str:
    return f"`{where.title}` follows `{where.environment.branch}` again, at {short(spot.commit)}"


def _stays(where: Place, pin: Pin | None, owner: str) -> str:
    at = f" at {short(pin.commit_hash)}" if pin is not None else ""
    return f"`{where.title}` is not held any more, and stays{at} as long as it is locked by {escape(owner)}"
