"""Bring this change to an environment and pin it there until the pull request is closed."""

import re
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from bot import pinning
from bot.context import Context
from bot.core.deployments import short
from bot.core.errors import TemporaryError, UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.inputs import Evidence, read
from bot.registry import command
from bot.store import deliveries, deployments, heads, pins
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Transaction
from bot.targets import chosen

SHA = re.compile(r"[0-9a-f]{7,40}")


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to deploy where."""

    target: Annotated[str, Meta(description="[project/]environment")]
    sha: Annotated[str | None, Meta(description="a commit of this change", extra={"positional": True})] = None
    behind: Annotated[bool, Meta(description="also if the change lacks commits of the branch")] = False
    reason: Annotated[str | None, Meta(description="why, for those who read the log")] = None


@dataclass(frozen=True)
class Plan:
    """What is to be pinned where."""

    where: Place
    commit: str
    branch: str
    evidence: Evidence


@command("deploy", needs=Role.DEPLOYER, on=("open",))
async def deploy(ctx: Context, args: Args) -> Result:
    """Deploy this change's head, or a commit of it, to an environment.

    The environment is pinned to that commit and follows its branch again when the pull request is closed. A change that
    lacks commits of the branch is refused unless you say --behind: deploying it would take them out.
    """
    places = await chosen(ctx, (args.target,))
    commit = await _commit(ctx, args)
    plans = [await _plan(ctx, args, where, commit) for where in places]
    async with ctx.store.write() as tx:
        for plan in plans:
            await _pin(tx, ctx, plan)
    names = ", ".join(f"`{where.title}`" for where in places)
    return done(f"Deploying {short(commit)} to {names}; pinned until this pull request is closed.")


async def _plan(ctx: Context, args: Args, where: Place, commit: str) -> Plan:
    ctx.cluster(where.environment.cluster)
    branch = await _branch(ctx, where, commit, behind=args.behind)
    evidence = await read(ctx.forge, where, commit)
    if evidence.inputs.missing:
        gone = ", ".join(f"`{path}`" for path, oid in evidence.inputs.paths.items() if not oid)
        raise UserError("path_missing", f"{gone} does not exist at {short(commit)}")
    return Plan(where, commit, branch, evidence)


async def _commit(ctx: Context, args: Args) -> str:
    """The commit that was meant: named, or the head that was known when the comment came in."""
    change, name = ctx.change, ctx.repository.full_name
    if args.sha is not None:
        if not SHA.fullmatch(args.sha.lower()):
            raise UserError("usage", f"`{args.sha[:60]}` is no commit: 7 to 40 hexadecimal digits are")
        if change.head.startswith(args.sha.lower()):
            return change.head
        commit = await ctx.forge.commit(name, args.sha.lower())
        if commit is None or not await ctx.forge.is_ancestor(name, commit, change.head):
            raise UserError("sha_not_in_change", f"{short(args.sha)} is not a commit of this pull request")
        return commit
    await _ledger_is_complete(ctx)
    async with ctx.store.read() as session:
        told = await heads.newest(
            session, ctx.repository.id, "pull_request", str(change.number), before=ctx.run.received_at
        )
    if told != change.head:
        what = f"was {short(told)} when you wrote" if told else "was not known yet when you wrote"
        again = f"`/deploy {args.target} {short(change.head)}`"
        raise UserError("ref_changed", f"the head is {short(change.head)}, but {what}; repeat with the commit: {again}")
    return change.head


async def _ledger_is_complete(ctx: Context) -> None:
    """Deliveries that came in before the comment may tell of its head; they are opened first."""
    async with ctx.store.read() as session:
        if await deliveries.unopened_before(session, ctx.repository.provider, ctx.run.received_at):
            raise TemporaryError("an earlier delivery is still to be opened", delay=0.05)


async def _branch(ctx: Context, where: Place, commit: str, *, behind: bool) -> str:
    """The branch that Flux can fetch the commit by; refuses a change that is behind."""
    name, environment = ctx.repository.full_name, where.environment
    head = await ctx.forge.branch_head(name, environment.branch)
    if head is not None and await ctx.forge.is_ancestor(name, commit, head):
        return environment.branch
    if head is not None and not behind and not await ctx.forge.is_ancestor(name, head, commit):
        raise UserError(
            "behind",
            f"{short(commit)} lacks commits of `{environment.branch}`, so deploying it would take them out of "
            f"{where.title}; bring the branch up to date, or say `--behind`",
        )
    return await pinning.reach(ctx.forge, where, commit, ctx.change.head_branch)


async def _pin(tx: Transaction, ctx: Context, plan: Plan) -> None:
    """The rows: the environment's own source, the deployment, the pin; the cluster follows them."""
    where, environment = plan.where, plan.where.environment
    source = await pins.own_source(tx, where)
    wish = Wish(
        commit=plan.commit,
        source_id=source.id,
        trigger="deploy",
        requested_by=ctx.run.actor,
        inputs_digest=plan.evidence.inputs_digest,
        config_digest=plan.evidence.config_digest,
        policy_digest=ctx.policy_digest,
        run_id=ctx.run.id,
        pull_request=ctx.change.number,
        patience=patience(environment),
    )
    deployment = await deployments.open_(tx, where, wish)
    await pins.set_(tx, deployment, branch=plan.branch, pinned_by=ctx.run.actor)
