"""A pull request was closed: the environments that it was pinned to follow their branches again."""

from uuid import UUID

import msgspec

from bot import following
from bot.context import Context
from bot.core.arrivals import STIRRED, follow_call, stirred_call
from bot.core.calls import Call
from bot.core.config_changes import proposed_call
from bot.core.deployments import short
from bot.core.events import PullRequestChanged
from bot.core.results import Result, done, ignored
from bot.registry import event, work
from bot.store import approvals, deployments, locks, pins, projects, runs
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Environment


class Closed(msgspec.Struct, frozen=True):
    """The pull request `number` was closed or merged."""

    number: int


class Stirred(msgspec.Struct, frozen=True):
    """Something about the pull request `number` is not as it was."""

    number: int


class Unpin(msgspec.Struct, frozen=True):
    """The environment is to follow its branch again, if the pin is still the pull request's."""

    number: int
    environment: str


@event(PullRequestChanged)
def calls(event: PullRequestChanged) -> list[Call]:
    """Its heads went into the ledger already; each may change the configuration, and its end ends its pins."""
    repository = event.repository
    stirred = stirred_call(repository.forge, repository.id, event.number, event.action, event.actor)
    if event.action in ("drafted", "ready"):
        return [stirred]
    if event.action != "closed":
        return [stirred, proposed_call(repository.forge, repository.id, event.number, event.head, event.actor)]
    return [stirred, closed_call(repository.forge, repository.id, event.number, event.actor)]


def closed_call(forge: str, repository: str, number: int, actor: str) -> Call:
    """What is to be done when a pull request is closed; also for one whose delivery never came."""
    return Call(
        kind="work",
        name="closed",
        key=f"{forge}:{repository}:pull:{number}:closed",
        actor=actor,
        arguments={"number": number},
    )


@work(STIRRED)
async def stirred(ctx: Context, args: Stirred) -> Result:
    """What waits for the request is looked at again; whether anything moved the forge knows."""
    async with ctx.store.write() as tx:
        waiting = await approvals.of_request(tx.session, ctx.repository.id, args.number)
        await approvals.ring(tx, [row.id for row in waiting])
    return ignored(f"{len(waiting)} wait for #{args.number}")


@work("closed")
async def closed(ctx: Context, args: Closed) -> Result:
    """Start one run for each environment that is pinned to the pull request, if it is still closed."""
    change = await ctx.forge.pull_request(ctx.repository.full_name, args.number)
    if change is not None and change.state == "open":
        return ignored("it is open again")
    async with ctx.store.write() as tx:
        pinned = await projects.pins_of(tx.session, ctx.repository.id, pull_request=args.number)
        unlocked = await locks.close(tx, ctx.repository.id, args.number, by=ctx.run.actor)
        for _, environment in pinned:
            await runs.start(tx, ctx.repository, _unpin(ctx, args.number, environment.id))
    names = ", ".join(environment.name for _, environment in pinned) or "no environment"
    given_back = f"; unlocked: {', '.join(unlocked)}" if unlocked else ""
    return done(f"pinned to #{args.number}: {names}{given_back}")


def _unpin(ctx: Context, number: int, environment: UUID) -> Call:
    return Call(
        kind="work",
        name="unpin",
        # By the run that found it closed, so that one which was refused is tried again by the next that looks.
        key=f"{ctx.repository.provider}:{ctx.repository.forge_id}:pull:{number}:unpin:{environment}:{ctx.run.id}",
        actor=ctx.run.actor,
        arguments={"number": number, "environment": str(environment)},
    )


@work("unpin")
async def unpin(ctx: Context, args: Unpin) -> Result:
    """Open a deployment of the branch's head, by the shared source."""
    async with ctx.store.read() as session:
        where = await deployments.place(session, UUID(args.environment))
    return await _follow_again(ctx, where, args, await following.head(ctx, where))


async def _follow_again(ctx: Context, where: Place, args: Unpin, spot: following.Spot) -> Result:
    environment = where.environment
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, environment.id)
        pin = await projects.live_pin(tx.session, environment.id)
        if pin is None or pin.pull_request != args.number:
            return ignored(f"{where.title} is not pinned to #{args.number}")
        if where.rules.protected:
            await pins.keep(tx, pin)
            await _newest_waits(tx, ctx, environment, spot.commit)
            return done(f"{where.title} stays at {short(pin.commit_hash)}: it is protected")
        if (why := await following.kept(tx.session, environment, tx.now)) is not None:
            await pins.keep(tx, pin)
            return done(f"{where.title} stays at {short(pin.commit_hash)}: {why}")
        await following.again(tx, ctx, where, spot, number=args.number)
    return done(f"{where.title} follows {environment.branch} again, at {short(spot.commit)}")


async def _newest_waits(tx: Transaction, ctx: Context, environment: Environment, head: str) -> None:
    """What was only this request's is not wanted any more: the branch's newest is looked at."""
    repository, newest = ctx.repository, environment.last_number
    call = follow_call(
        repository.provider,
        repository.forge_id,
        environment.branch,
        head,
        environment.id,
        newest,
        actor=ctx.run.actor,
        actor_id=ctx.call.actor_id,
    )
    await runs.start(tx, repository, call)
