"""Go back to what succeeded in an environment before."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking, editing, pinning, pruning
from bot.context import Context
from bot.core import checks, fluxobjects, releases, rollbacks
from bot.core.conversation import code
from bot.core.deployments import duration, short
from bot.core.errors import BotError, TemporaryError, UserError
from bot.core.gates import Facts
from bot.core.keeping import reach_call
from bot.core.prunes import Pruned
from bot.core.releases import RolledBack
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.core.rollbacks import Commit, Id, Number, Past, Steps
from bot.registry import command
from bot.store import deployments, pins, runs, stands
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Transaction
from bot.targets import chosen
from models import Deployment, GitopsResource

FORGE_PATIENCE = 3.0  # seconds; going back does not wait for the forge
LOOKED_AT = 500  # deployments that steps are counted in


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go back, to what, and why."""

    target: Annotated[str, Meta(description="[project/]environment")]
    to: Annotated[
        str | None,
        Meta(description="how many revisions back, a commit, or a deployment (#12)", extra={"positional": True}),
    ] = None
    revert: Annotated[bool, Meta(description="also propose to have the files as they were then")] = False
    prune_confirmed: Annotated[bool, Meta(description="also if volumes, namespaces or CRDs go with it")] = False
    take_over: Annotated[bool, Meta(description="also over fields that another manager owns (admins)")] = False
    reason: Annotated[str | None, Meta(description="why, for those who read the log")] = None


@dataclass(frozen=True)
class Looked:
    """What of the environment goes with the older revision, and of which commits it may have something.

    None: nothing is there yet, or with `blind` nobody could look.
    """

    pruned: Pruned | None = None
    applied: frozenset[str] = frozenset()
    blind: bool = False


@dataclass(frozen=True)
class Way:
    """A deployment that succeeded, and how Flux reaches its commit now; unsure: the forge did not say."""

    old: Deployment
    branch: str
    sure: bool
    looked: Looked


@command("rollback", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def rollback(ctx: Context, args: Args) -> Result:
    """Go back at once to a revision that succeeded in this environment before: the last one, or the one that you name.

    It overtakes whatever is on its way, and asks for no approvals. Volumes, namespaces and CRDs that would go with it
    are named, and go only if you say --prune-confirmed. The environment is held there: pushes, /deploy and /promote
    stay out until /resume. With --revert a pull request proposes to have the environment's files on its
    branch as they were at that revision.
    """
    asking.let_take_over(ctx, args.take_over)
    lines = [await _one(ctx, args, where) for where in await chosen(ctx, (args.target,))]
    return done("\n".join(lines))


async def _one(ctx: Context, args: Args, where: Place) -> str:
    ctx.cluster(where.environment.cluster)
    asked = await asking.facts(ctx, where)
    async with ctx.store.read() as session:
        await asking.let(session, where, asked)
    old = await _meant_before(ctx, where) or await _meant(ctx, where, args.to)
    looked = await _look(ctx, where, old)
    asked = _with(asked, args, old, looked)
    async with ctx.store.read() as session:
        if await deployments.of_run(session, ctx.run.id, where.environment.id) is None:
            await asking.let(session, where, asked)
    way = await _way(ctx, where, old, looked)
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        if await deployments.of_run(tx.session, ctx.run.id, where.environment.id) is None:
            await asking.let(tx.session, where, asked)
            await _still(tx, where, looked)
            await _go_back(tx, ctx, args, where, way)
    later = await _when(ctx, where)
    text = (
        f"`{where.title}` goes back to {short(old.commit_hash)}, which was live here with deployment `#{old.number}`. "
        f"It is held there: `/resume {where.title}` lets deployments in again."
    )
    if args.revert:
        later += await _proposed(ctx, where, old.commit_hash)
    blind = " Nobody could look whether volumes, namespaces or CRDs go with that." if looked.blind else ""
    unsure = "" if way.sure else " The forge did not answer; that a branch leads to the commit is seen to later."
    return text + blind + unsure + later


async def _proposed(ctx: Context, where: Place, commit: str) -> str:
    """The pull request that reverts the files; that there is none takes nothing back."""
    try:
        number = await editing.revert(ctx, where, commit)
    except BotError as error:
        return f" No pull request with the files as they were: {error}."
    return f" #{number} proposes to have the files as they were." if number else " The files are as they were already."


# What is meant.


async def _meant_before(ctx: Context, where: Place) -> Deployment | None:
    """What this run went back to before it was interrupted: seen from there, one revision back is another one."""
    async with ctx.store.read() as session:
        made = await deployments.of_run(session, ctx.run.id, where.environment.id)
        if made is None:
            return None
        rows = await deployments.succeeded(session, where.environment.id, commit=made.commit_hash)
    return next((row for row in rows if row.id != made.id), made)


async def _meant(ctx: Context, where: Place, word: str | None) -> Deployment:
    wish, environment = rollbacks.read(word), where.environment.id
    async with ctx.store.read() as session:
        match wish:
            case Steps():
                rows = await deployments.succeeded(session, environment, limit=LOOKED_AT)
                present = await deployments.newest(session, environment, without=deployments.NOT_LET_THROUGH)
                past = [Past(number=row.number, commit=row.commit_hash, trigger=row.trigger) for row in rows]
                found = rollbacks.back(past, present.commit_hash if present else None, wish.count)
                rows = [row for row in rows if found is not None and row.number == found.number]
            case Number():
                rows = await deployments.succeeded(session, environment, number=wish.number)
            case Id():
                rows = await deployments.succeeded(session, environment, id=wish.id)
            case Commit():
                rows = await deployments.succeeded(session, environment, commit=wish.prefix)
    if not rows:
        raise _never(where, word)
    if len({row.commit_hash for row in rows}) > 1:
        raise UserError("usage", f"{code(word or '', 60)} begins more than one commit that was live here; write more")
    return rows[0]


def _never(where: Place, word: str | None) -> UserError:
    what = f"{code(word, 60)} never succeeded" if word else "nothing else succeeded before"
    return UserError("never_deployed_here", f"{what} in {where.title}; `/history {where.title}` lists what did")


async def _look(ctx: Context, where: Place, old: Deployment) -> Looked:
    """What goes with it; going back does not wait for a forge that does not answer."""
    async with ctx.store.read() as session:  # outside of what may be cancelled
        applied = await pruning.applied(session, where.environment)
    cluster, commit = ctx.cluster(where.environment.cluster), old.commit_hash
    try:
        async with asyncio.timeout(FORGE_PATIENCE):
            return Looked(await pruning.look(ctx.forge, cluster, where, applied - {commit}, commit), applied)
    except (BotError, TimeoutError):
        return Looked(blind=True)


def _with(asked: Facts, args: Args, old: Deployment, looked: Looked) -> Facts:
    confirmed = looked.pruned.names if looked.pruned is not None and args.prune_confirmed else ()
    return msgspec.structs.replace(asked, commit=old.commit_hash, pruned=looked.pruned, prunes_confirmed=confirmed)


async def _still(tx: Transaction, where: Place, looked: Looked) -> None:
    if not looked.blind and await pruning.applied(tx.session, where.environment) != looked.applied:
        raise TemporaryError("something else was applied meanwhile", delay=0.05)


async def _way(ctx: Context, where: Place, old: Deployment, looked: Looked) -> Way:
    """The branch by which Flux fetches the commit; that of old where the forge does not answer."""
    former = old.branch or where.environment.branch
    if looked.blind:  # it was waited for once
        return Way(old, former, False, looked)
    try:
        async with asyncio.timeout(FORGE_PATIENCE):
            return Way(old, await pinning.reach(ctx.forge, where, old.commit_hash, former), True, looked)
    except (TemporaryError, TimeoutError):
        return Way(old, former, False, looked)


# What is done.


async def _go_back(tx: Transaction, ctx: Context, args: Args, where: Place, way: Way) -> None:
    """The deployment, the pin and the hold: what was known when it succeeded is known still."""
    environment = where.environment
    wish = await _wish(tx, ctx, args, where, way)
    event = RolledBack(wanted=stands.wanted(wish, own=True), reason=args.reason)
    changes = releases.decide(await stands.read(tx.session, environment), event)
    deployment = await stands.apply(tx, where, changes, wish=wish, branch=way.branch)
    assert deployment is not None
    if not way.sure:
        call = reach_call(where.repository.provider, where.repository.forge_id, environment.id, deployment.id)
        await runs.start(tx, where.repository, call)


async def _wish(tx: Transaction, ctx: Context, args: Args, where: Place, way: Way) -> Wish:
    source, old = await pins.own_source(tx, where), way.old
    pruned = way.looked.pruned
    return Wish(
        commit=old.commit_hash,
        source_id=source.id,
        trigger="rollback",
        requested_by=ctx.run.actor,
        requested_by_id=ctx.call.actor_id or None,
        inputs_digest=old.inputs_digest,
        config_digest=old.config_digest,
        policy_digest=old.policy_digest,
        chain_digest=old.chain_digest,
        run_id=ctx.run.id,
        pull_request=ctx.call.number,
        patience=patience(where.environment),
        branch=way.branch,
        take_over=[] if args.take_over else None,
        prunes=list(pruned.names) or None if pruned is not None else None,
    )


# When it takes effect.


async def _when(ctx: Context, where: Place) -> str:
    """Without its feature gate Flux first waits for the health checks of what is on its way."""
    cluster, environment = ctx.cluster(where.environment.cluster), where.environment
    try:
        async with ctx.store.read() as session:
            applied = await session.get_one(GitopsResource, environment.gitops_resource_id)
        if applied.type != "kustomization":
            return ""
        found = await cluster.get("Kustomization", applied.namespace, applied.name)
        controller = await cluster.get("Deployment", checks.FLUX_NAMESPACE, checks.CONTROLLER_OF["Kustomization"])
    except BotError:
        return ""
    if found is None or controller is None or not fluxobjects.progresses(found) or checks.cancels(controller):
        return ""
    timeout = duration(environment.config.get("timeout", "5m"))
    since = fluxobjects.moment_of(fluxobjects.condition_of(found, "Ready").get("lastTransitionTime"))
    end = (since or ctx.store.clock()) + timeout + timedelta(seconds=1)
    return (
        f" Flux runs without its feature gate {checks.GATE}, so it waits for the health checks of what is on its way "
        f"first: this takes effect at {end:%H:%M:%S} UTC at the latest."
    )
