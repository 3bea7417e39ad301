"""Let deployments come in again after a rollback, or end a pin."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking, following, releasing
from bot.context import Context
from bot.core import releases
from bot.core.conversation import code, escape
from bot.core.deployments import Phase, short
from bot.core.errors import UserError
from bot.core.gates import PUSH, Facts
from bot.core.releases import Resumed
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.following import Spot
from bot.registry import command
from bot.releasing import RESUME, Asked, Dossier
from bot.store import deployments, holds, locks, projects, stands
from bot.store.deployments import Place, Wish
from bot.store.transactions import Transaction
from bot.targets import chosen
from models import Hold, Pin


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to go on."""

    target: Annotated[str, Meta(description="[project/]environment")]


@command("resume", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def resume(ctx: Context, args: Args) -> Result:
    """Let deployments come in again after a rollback, or end the pin of a pull request.

    An environment that follows its branch goes to its head. A protected one stays at what it has, and the newest
    revision of its branch is opened as a deployment that waits for what the environment asks for.
    """
    lines = [await _one(ctx, where) for where in await chosen(ctx, (args.target,))]
    return done("\n".join(lines))


async def _one(ctx: Context, where: Place) -> str:
    asked = await asking.facts(ctx, where)
    if where.rules.protected:
        return await _protected(ctx, where, asked)
    spot = await following.head(ctx, where)
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        if await deployments.of_run(tx.session, ctx.run.id, where.environment.id) is not None:
            return _follows(where, spot)
        await asking.let(tx.session, where, asked)
        return await _resume(tx, ctx, where, spot)


async def _resume(tx: Transaction, ctx: Context, where: Place, spot: Spot) -> str:
    environment = where.environment
    hold = await holds.live(tx.session, environment.id)
    pin = await projects.live_pin(tx.session, environment.id)
    if hold is None and pin is None:
        text = f"{code(where.title)} is not held, and follows {code(environment.branch)} already"
        raise UserError("nothing_to_resume", text)
    lock = await locks.held(tx.session, environment.id, tx.now)
    goes = lock is None and pin is not None
    await _end(tx, ctx, where, await following.unpinning(tx, ctx, where, spot) if goes else None)
    return _follows(where, spot) if lock is None else _stays(where, pin, lock.owner)


# A protected environment.


async def _protected(ctx: Context, where: Place, asked: Facts) -> str:
    found = await _newest(ctx, where)
    keeper = releasing.of(ctx)
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        again = await deployments.of_run(tx.session, ctx.run.id, where.environment.id)
        if again is None:
            await asking.let(tx.session, where, asked)
            hold = await holds.live(tx.session, where.environment.id)
            stand = await stands.read(tx.session, where.environment)
            if not found.opens_by_push or stand.live_inputs == found.parts.inputs:
                await _end(tx, ctx, where)
                return _nothing_newer(where, hold, found)
        verdict, made = await keeper.open(tx, found, trigger=RESUME, run_id=ctx.run.id, by=ctx.run.actor)
    what, first = short(found.parts.commit), verdict.first
    if made is None and first is not None and not first.waits:
        raise UserError(first.code, f"{code(where.title)}: {first.text}")
    if made is None or made.status == Phase.WAITING:
        return f"{code(where.title)} is not held any more; {what} waits" + (f": {first.text}" if first else "")
    return f"{code(where.title)} is not held any more; {what} goes there"


async def _newest(ctx: Context, where: Place) -> Dossier:
    """What the branch has now, as a push would bring it; whoever resumes counts as having pushed it."""
    name, branch = ctx.repository.full_name, where.environment.branch
    head = await ctx.forge.branch_head(name, branch)
    if head is None:
        raise UserError("branch_missing", f"{code(where.title)} stays as it is: there is no branch {code(branch)}")
    number = await ctx.forge.merged_pull_request(name, head)
    change = await ctx.forge.pull_request(name, number) if number is not None else None
    asked = Asked(command=PUSH, commit=head, pushed_by=ctx.call.actor_id, change=change)
    keeper = releasing.of(ctx)
    return await keeper.reachable(await keeper.dossier(where, asked))


def _nothing_newer(where: Place, hold: Hold | None, found: Dossier) -> str:
    if hold is None:
        raise UserError("nothing_to_resume", f"{code(where.title)} is not held, and nothing newer is there for it")
    if not found.opens_by_push:
        return f"{code(where.title)} is not held any more; `/deploy` brings something there"
    return f"{code(where.title)} is not held any more; it has what {code(where.environment.branch)} has"


# Both.


async def _end(tx: Transaction, ctx: Context, where: Place, wish: Wish | None = None) -> None:
    """End the hold; `wish` is what comes by the shared source then."""
    wanted = stands.wanted(wish, own=False) if wish is not None else None
    changes = releases.decide(await stands.read(tx.session, where.environment), Resumed(wanted=wanted))
    await stands.apply(tx, where, changes, wish=wish, by=ctx.run.actor)


def _follows(where: Place, spot: Spot) -> str:
    return f"{code(where.title)} follows {code(where.environment.branch)} again, at {short(spot.commit)}"


def _stays(where: Place, pin: Pin | None, owner: str) -> str:
    at = f" at {short(pin.commit_hash)}" if pin is not None else ""
    return f"{code(where.title)} is not held any more, and stays{at} as long as it is locked by {escape(owner)}"
