"""What follows a lock or a rollback: the next in line is told, the environment goes on, its commit stays in reach."""

from uuid import UUID

import msgspec

from bot import following, pinning
from bot.context import Context
from bot.core.deployments import short
from bot.core.keeping import FREED, REACH, TURN, until
from bot.core.results import Result, done, ignored
from bot.registry import work
from bot.store import deployments, projects
from bot.store.deployments import Place
from models import Lock


class Freed(msgspec.Struct, frozen=True):
    """Nobody keeps the environment any more, as far as was known."""

    environment: str


class Turn(msgspec.Struct, frozen=True):
    """A lock went to the next in line."""

    lock: str


class Reach(msgspec.Struct, frozen=True):
    """The environment was pinned to a commit while the forge did not answer."""

    environment: str


@work(TURN)
async def turn(ctx: Context, args: Turn) -> Result:
    """Call them on the request that it was asked for on."""
    async with ctx.store.read() as session:
        lock = await session.get_one(Lock, UUID(args.lock))
        where = await deployments.place(session, lock.environment_id)
    if lock.status != "held":
        return ignored("it has ended already")
    return done(f"`{where.title}` is yours now{until(lock.expires_at)}", calls=True)


@work(FREED)
async def freed(ctx: Context, args: Freed) -> Result:
    """An environment that was pinned to be kept follows its branch again; what waits was rung for already."""
    async with ctx.store.read() as session:
        where = await deployments.place(session, UUID(args.environment))
        pin = await projects.live_pin(session, where.environment.id)
    if pin is None or not following.follows(where.environment):
        return ignored(f"{where.title} has no pin to end")
    spot = await following.head(ctx, where)
    return await _follow_again(ctx, where, spot)


async def _follow_again(ctx: Context, where: Place, spot: following.Spot) -> Result:
    environment = where.environment
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, environment.id)
        pin = await projects.live_pin(tx.session, environment.id)
        if pin is None:
            return ignored(f"{where.title} has no pin to end")
        if pin.pull_request is not None:
            return ignored(f"{where.title} is pinned to #{pin.pull_request}")
        if (why := await following.kept(tx.session, environment, tx.now)) is not None:
            return ignored(f"{where.title} stays: {why}")
        await following.again(tx, ctx, where, spot)
    return done(f"{where.title} follows {environment.branch} again, at {short(spot.commit)}")


@work(REACH)
async def reach(ctx: Context, args: Reach) -> Result:
    """Have a branch lead to the commit, if none does."""
    async with ctx.store.read() as session:
        where = await deployments.place(session, UUID(args.environment))
        pin = await projects.live_pin(session, where.environment.id)
    if pin is None:
        return ignored(f"{where.title} has no pin any more")
    cluster = ctx.cluster(where.environment.cluster)
    made = await pinning.keep_reachable(ctx.store, ctx.forge, cluster, pin, ctx.credentials)
    return done(f"{short(pin.commit_hash)} is reached by " + ("a branch of Sluice's" if made else pin.branch))
