"""Give an environment back."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking
from bot.context import Context
from bot.core.conversation import code, escape
from bot.core.errors import UserError
from bot.core.gates import Facts
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.store import locks
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from bot.targets import chosen
from models import Lock


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to give back."""

    target: Annotated[str, Meta(description="[project/]environment")]


@command("unlock", needs=Role.DEPLOYER, on=("open", "merged", "closed", "commit"), asks_environments=True)
async def unlock(ctx: Context, args: Args) -> Result:
    """Give an environment back, or your place in line; an admin may take a lock from its owner.

    The next in line has it then. When nobody waits, an environment that follows its branch goes on to its head.
    """
    lines = [await _one(ctx, where) for where in await chosen(ctx, (args.target,))]
    return done("\n".join(lines))


async def _one(ctx: Context, where: Place) -> str:
    asked = await asking.facts(ctx, where)
    async with ctx.store.write() as tx:
        lock = await locks.released_by(tx.session, where.environment.id, ctx.run.id)
        if lock is None:
            lock = await _meant(tx, ctx, where, asked)
            await locks.release(tx, where, lock, by=ctx.run.actor, run_id=ctx.run.id)
        following = await locks.held(tx.session, where.environment.id, tx.now)
    if lock.claimed_at is None:
        return f"You are not in line for `{where.title}` any more"
    whose = "" if lock.owner == ctx.run.actor else f" (it was {escape(lock.owner)}'s)"
    after = f"now it is {escape(following.owner)}'s" if following else "nobody waits for it"
    return f"`{where.title}` is unlocked{whose}; {after}"


async def _meant(tx: Transaction, ctx: Context, where: Place, asked: Facts) -> Lock:
    """One's own, else that of another, which only an admin may end."""
    environment = where.environment.id
    await locks.clear(tx, where)
    mine = await locks.of_person(tx.session, environment, ctx.run.actor, ctx.call.actor_id)
    if mine is not None:
        return mine
    other = await locks.held(tx.session, environment, tx.now)
    if other is None:
        raise UserError("not_locked", f"{code(where.title)} is not locked")
    await asking.let(tx.session, where, asked)
    return other
