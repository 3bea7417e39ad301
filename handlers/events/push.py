"""A branch moved: bring the environments that follow it to the new head; protected ones wait for their gates."""

from uuid import UUID

import msgspec

from bot import pinning, releasing
from bot.context import Context
from bot.core import releases
from bot.core.arrivals import FOLLOW, REOPEN, follow_call
from bot.core.calls import Call
from bot.core.config_changes import arrived_call
from bot.core.deployments import Phase, short
from bot.core.events import Pushed
from bot.core.results import Result, done, ignored
from bot.inputs import Evidence, read
from bot.registry import event, work
from bot.releasing import PUSH, Asked
from bot.store import deployments, projects, runs, stands
from bot.store.deployments import Place, Wish
from bot.store.transactions import Transaction
from models import Environment, Pin

KEPT = "sluice/keep/"
NOT_DEPLOYED = (Phase.WAITING, Phase.SUPERSEDED, Phase.REJECTED, Phase.CANCELLED)


class Moved(msgspec.Struct, frozen=True):
    """A branch was at `commit` when somebody pushed; None: it was deleted."""

    branch: str
    commit: str | None


class Follow(msgspec.Struct, frozen=True):
    """An environment is to follow its branch to `commit`."""

    branch: str
    commit: str
    environment: str


class Reopen(msgspec.Struct, frozen=True):
    """What a push brought to an environment is wanted again."""

    branch: str
    environment: str


@event(Pushed)
def calls(event: Pushed) -> list[Call]:
    """A push is a hint: its key is the head that it left. Our own branches are of no interest."""
    if event.branch.startswith(KEPT):
        return []
    repository = event.repository
    moved = Call(
        kind="work",
        name="push",
        key=f"{repository.forge}:{repository.id}:refs/heads/{event.branch}:{event.before}:{event.after}",
        actor=event.actor,
        actor_id=event.actor_id,
        arguments={"branch": event.branch, "commit": event.after},
    )
    if event.branch != repository.default_branch or event.after is None:
        return [moved]
    return [moved, arrived_call(repository.forge, repository.id, event.after, event.actor)]


@work("push")
async def push(ctx: Context, args: Moved) -> Result:
    """Start one run for each environment that follows the branch, for the head that it has now."""
    head = await ctx.forge.branch_head(ctx.repository.full_name, args.branch)
    kept = await _keep_pins(ctx, args.branch)
    if head is None or args.commit is None:
        return ignored(f"the branch is gone{_told(kept)}")
    async with ctx.store.write() as tx:
        following = await projects.environments(tx.session, ctx.repository.id, branch=args.branch)
        for commit in dict.fromkeys((args.commit, head)):
            for _, environment in following:
                await runs.start(tx, ctx.repository, _follow(ctx, args.branch, commit, environment))
    names = ", ".join(environment.name for _, environment in following) or "no environment"
    return done(f"following {args.branch}: {names}{_told(kept)}")


def _told(kept: list[str]) -> str:
    return f"; kept reachable for the pin of {', '.join(kept)}" if kept else ""


async def _keep_pins(ctx: Context, branch: str) -> list[str]:
    """A deleted or rewritten branch must not take a pinned commit out of Flux's reach."""
    async with ctx.store.read() as session:
        pinned = await projects.pins_of(session, ctx.repository.id, branch=branch)
    kept = []
    for pin, environment in pinned:
        cluster = ctx.cluster(environment.cluster)
        if await pinning.keep_reachable(ctx.store, ctx.forge, cluster, pin, ctx.credentials):
            kept.append(environment.name)
    return kept


def _follow(ctx: Context, branch: str, commit: str, environment: Environment) -> Call:
    return follow_call(
        ctx.repository.provider,
        ctx.repository.forge_id,
        branch,
        commit,
        environment.id,
        environment.last_number,
        actor=ctx.run.actor,
        actor_id=ctx.call.actor_id,
    )


@work(FOLLOW)
async def follow(ctx: Context, args: Follow) -> Result:
    """Open a deployment if the environment's inputs changed; say what became of a commit that was overtaken."""
    async with ctx.store.read() as session:
        where = await deployments.place(session, UUID(args.environment))
        pin = await projects.live_pin(session, where.environment.id)
    if where.rules.protected:
        return await _protected(ctx, where, args)
    if pin is not None:
        return _pinned(where, pin)
    head = await ctx.forge.branch_head(ctx.repository.full_name, args.branch)
    if head is None:
        return ignored("the branch is gone")
    evidence = await read(ctx.forge, where, args.commit)
    at_head = evidence if head == args.commit else await read(ctx.forge, where, head)
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        pin = await projects.live_pin(tx.session, where.environment.id)
        if pin is not None:
            return _pinned(where, pin)
        if head == args.commit:
            return await _open(tx, ctx, where, args, evidence)
        return await _overtaken(tx, ctx, where, args, evidence, head, at_head)


async def _protected(ctx: Context, where: Place, args: Follow) -> Result:
    """The newest commit of the branch waits for the environment's gates; when all are open it goes by itself."""
    name = ctx.repository.full_name
    if await ctx.forge.branch_head(name, args.branch) != args.commit:
        return ignored("there is a newer head")
    keeper = releasing.of(ctx)
    number = await ctx.forge.merged_pull_request(name, args.commit)
    change = await ctx.forge.pull_request(name, number) if number is not None else None
    asked = Asked(command=PUSH, commit=args.commit, pushed_by=ctx.call.actor_id, change=change)
    found = await keeper.dossier(where, asked)
    if not found.opens_by_push:
        return ignored(f"{where.title} goes nowhere by a push; `/deploy` brings it there")
    found = await keeper.reachable(found)
    async with ctx.store.write() as tx:
        verdict, made = await keeper.open(tx, found, trigger=PUSH, run_id=ctx.run.id, by=ctx.run.actor)
    first = verdict.first
    if made is None:
        why = first.text if first is not None and not first.waits else f"nothing that {where.title} is made of changed"
        return ignored(why, code=first.code if first is not None and not first.waits else "untouched")
    return done(f"{short(args.commit)} " + (f"waits: {first.text}" if first else f"goes to {where.title}"))


@work(REOPEN)
async def reopen(ctx: Context, args: Reopen) -> Result:
    """What had taken its place ended: the newest revision of the branch waits again."""
    head = await ctx.forge.branch_head(ctx.repository.full_name, args.branch)
    if head is None:
        return ignored("the branch is gone")
    async with ctx.store.write() as tx:
        environment = await tx.session.get_one(Environment, UUID(args.environment))
        await runs.start(tx, ctx.repository, _follow(ctx, args.branch, head, environment))
    return ignored(f"{short(head)} is looked at again")


def _pinned(where: Place, pin: Pin) -> Result:
    return ignored(f"{where.title} is pinned to {short(pin.commit_hash)}")


async def _wish(tx: Transaction, ctx: Context, where: Place, args: Follow, evidence: Evidence) -> Wish:
    source = await projects.followed(tx.session, where.project, where.environment)
    return Wish(
        commit=args.commit,
        source_id=source.id,
        trigger="push",
        requested_by=ctx.run.actor,
        inputs_digest=evidence.inputs_digest,
        config_digest=evidence.config_digest,
        policy_digest=ctx.policy_digest,
        run_id=ctx.run.id,
    )


async def _open(tx: Transaction, ctx: Context, where: Place, args: Follow, evidence: Evidence) -> Result:
    name = where.title
    made = await stands.at_once(tx, where, await _wish(tx, ctx, where, args, evidence))
    if made is None:
        return ignored(f"nothing that {name} is made of changed", code="untouched")
    return done(f"{name} goes to {short(args.commit)}")


async def _overtaken(
    tx: Transaction, ctx: Context, where: Place, args: Follow, evidence: Evidence, head: str, at_head: Evidence
) -> Result:
    """A newer head is there: its own run brings it out, here it is said what became of this one."""
    environment = where.environment.id
    if await deployments.of_commit(tx.session, environment, args.commit):
        return ignored("it was told already")
    lately = await deployments.latest(tx.session, environment, without=NOT_DEPLOYED, limit=2)
    before = [row for row in lately if row.commit_hash != head]
    if before and before[0].inputs_digest == evidence.inputs_digest:
        return ignored(f"{where.title} is not made of what changed", code="untouched")
    wish = await _wish(tx, ctx, where, args, evidence)
    alike = at_head.inputs_digest == evidence.inputs_digest  # then it goes live as a part of the head
    event = releases.Overtaken(wanted=stands.wanted(wish, own=False), head=head, alike=alike)
    changes = releases.decide(await stands.read(tx.session, where.environment), event)
    await stands.apply(tx, where, changes, wish=wish)
    return done(f"{short(args.commit)} was overtaken by {short(head)}")
