"""Keep an environment for oneself."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking, following
from bot.context import Context
from bot.core.conversation import escape
from bot.core.keeping import nth, span, until
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.store import locks
from bot.store.deployments import Place
from bot.store.locks import HELD, Claim
from bot.targets import chosen
from models import Lock


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to keep, how long and why."""

    target: Annotated[str, Meta(description="[project/]environment")]
    for_: Annotated[str | None, Meta(description="how long: 30m, 2h, 3d; without it until /unlock")] = None
    reason: Annotated[str | None, Meta(description="why, for those who wait")] = None


@command("lock", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def lock(ctx: Context, args: Args) -> Result:
    """Keep an environment for yourself; while somebody else has it, wait in line.

    Nobody else deploys there meanwhile, and pushes wait: an environment that follows its branch stays at what it has.
    A lock ends with /unlock, after its time, and when the pull request is merged or closed; then the next has it.
    """
    wish = _claim(ctx, args)
    lines = [await _one(ctx, where, wish) for where in await chosen(ctx, (args.target,))]
    return done("\n".join(lines))


def _claim(ctx: Context, args: Args) -> Claim:
    change = ctx.pull_request
    return Claim(
        owner=ctx.run.actor,
        owner_id=ctx.call.actor_id,
        pull_request=change.number if change is not None and change.state == "open" else None,
        reason=args.reason,
        span=span(args.for_) if args.for_ else None,
    )


async def _one(ctx: Context, where: Place, wish: Claim) -> str:
    asked = await asking.facts(ctx, where)
    async with ctx.store.read() as session:
        await asking.let(session, where, asked)
        other = await locks.kept_from(session, where.environment.id, wish.owner, wish.owner_id, ctx.store.clock())
    spot = await following.stay(ctx, where) if other is None else None
    async with ctx.store.write() as tx:
        mine = await locks.claim(tx, where, wish)
        if mine.status == HELD and spot is not None:
            await following.pin(tx, ctx, where, spot)
        first = await locks.held(tx.session, where.environment.id, tx.now)
        line = await locks.line(tx.session, where.environment.id)
    if mine.status == HELD:
        return f"`{where.title}` is yours{until(mine.expires_at)}"
    place = [each.id for each in line].index(mine.id) + 1
    assert first is not None
    return f"`{where.title}` is {_told(first)}; you are {nth(place)} in line and will be told here"


def _told(lock: Lock) -> str:
    why = f" ({escape(lock.reason, 200)})" if lock.reason else ""
    return f"locked by {escape(lock.owner)}{until(lock.expires_at)}{why}"
