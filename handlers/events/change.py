"""A pull request was closed: the environments that it was pinned to follow their branches again."""

from uuid import UUID

import msgspec

from bot.context import Context
from bot.core.calls import Call
from bot.core.config_changes import proposed_call
from bot.core.deployments import short
from bot.core.errors import TemporaryError, UserError
from bot.core.events import PullRequestChanged
from bot.core.results import Result, done, ignored
from bot.inputs import Evidence, read
from bot.registry import event, work
from bot.store import deployments, pins, projects, runs
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Transaction


class Closed(msgspec.Struct, frozen=True):
    """The pull request `number` was closed or merged."""

    number: int


class Unpin(msgspec.Struct, frozen=True):
    """The environment is to follow its branch again, if the pin is still the pull request's."""

    number: int
    environment: str


@event(PullRequestChanged)
def calls(event: PullRequestChanged) -> list[Call]:
    """Its heads went into the ledger already; each may change the configuration, and its end ends its pins."""
    if event.action != "closed":
        repository = event.repository
        return [proposed_call(repository.forge, repository.id, event.number, event.head, event.actor)]
    return [closed_call(event.repository.forge, event.repository.id, event.number, event.actor)]


def closed_call(forge: str, repository: str, number: int, actor: str) -> Call:
    """What is to be done when a pull request is closed; also for one whose delivery never came."""
    return Call(
        kind="work",
        name="closed",
        key=f"{forge}:{repository}:pull:{number}:closed",
        actor=actor,
        arguments={"number": number},
    )


@work("closed")
async def closed(ctx: Context, args: Closed) -> Result:
    """Start one run for each environment that is pinned to the pull request, if it is still closed."""
    change = await ctx.forge.pull_request(ctx.repository.full_name, args.number)
    if change is not None and change.state == "open":
        return ignored("it is open again")
    async with ctx.store.write() as tx:
        pinned = await projects.pins_of(tx.session, ctx.repository.id, pull_request=args.number)
        for _, environment in pinned:
            await runs.start(tx, ctx.repository, _unpin(ctx, args.number, environment.id))
    names = ", ".join(environment.name for _, environment in pinned) or "no environment"
    return done(f"pinned to #{args.number}: {names}")


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
    branch = where.environment.branch
    head = await ctx.forge.branch_head(ctx.repository.full_name, branch)
    if head is None:
        raise UserError("branch_missing", f"{where.title} stays pinned: there is no branch {branch}")
    evidence = await read(ctx.forge, where, head)
    async with ctx.store.write() as tx:
        return await _follow_again(tx, ctx, where, args, head, evidence)


async def _follow_again(
    tx: Transaction, ctx: Context, where: Place, args: Unpin, head: str, evidence: Evidence
) -> Result:
    environment = where.environment
    await deployments.one_at_a_time(tx.session, environment.id)
    pin = await projects.live_pin(tx.session, environment.id)
    if pin is None or pin.pull_request != args.number:
        return ignored(f"{where.title} is not pinned to #{args.number}")
    source = await projects.shared_source(tx.session, where.project, environment.cluster, environment.branch)
    if source is None:
        raise TemporaryError(f"nothing follows {environment.branch}")
    wish = Wish(
        commit=head,
        source_id=source.id,
        trigger="unpin",
        requested_by=ctx.run.actor,
        inputs_digest=evidence.inputs_digest,
        config_digest=evidence.config_digest,
        policy_digest=ctx.policy_digest,
        run_id=ctx.run.id,
        pull_request=args.number,
        patience=patience(environment),
    )
    await deployments.open_(tx, where, wish)
    await pins.end(tx, pin)
    return done(f"{where.title} follows {environment.branch} again, at {short(head)}")
