"""Bring what runs in one environment to another."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking, releasing
from bot.context import Context
from bot.core.conversation import code
from bot.core.errors import UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.releasing import Asked
from bot.store import deployments
from bot.store.deployments import Place
from bot.targets import chosen


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From where to where."""

    from_: Annotated[str, Meta(description="[project/]environment")]
    to: Annotated[str, Meta(description="another environment of the same project")]
    prune_confirmed: Annotated[bool, Meta(description="also if volumes, namespaces or CRDs go with it")] = False
    reason: Annotated[str | None, Meta(description="why, for those who read the log")] = None


@command("promote", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def promote(ctx: Context, args: Args) -> Result:
    """Deploy the revision that runs in one environment to another one.

    The gates of the other decide: where approvals are wanted the deployment waits for them. An environment that follows
    its branch is pinned to that revision, until /resume.
    """
    sources = {where.project.id: where for where in await chosen(ctx, (args.from_,))}
    pairs = [(sources.get(where.project.id), where) for where in await chosen(ctx, (args.to,))]
    lines = [await _one(ctx, args, source, where) for source, where in pairs]
    return done("\n\n".join(lines))


async def _one(ctx: Context, args: Args, source: Place | None, where: Place) -> str:
    if source is None or source.environment.id == where.environment.id:
        raise UserError(
            "usage", f"{code(args.from_, 100)} and {code(where.title)} are no two environments of a project"
        )
    ctx.cluster(where.environment.cluster)
    commit = await _runs(ctx, source)
    asked = Asked(
        command="promote",
        commit=commit,
        asked_by=ctx.call.actor_id or ctx.run.actor,
        asked_login=ctx.run.actor,
        change=ctx.pull_request,
        named=True,
        prune_confirmed=args.prune_confirmed,
    )
    keeper = releasing.of(ctx)
    found = await keeper.reachable(await keeper.dossier(where, asked))
    async with ctx.store.write() as tx:
        verdict, made = await keeper.open(tx, found, trigger="promote", run_id=ctx.run.id, by=ctx.run.actor)
        return asking.told(where, commit, verdict, made)


async def _runs(ctx: Context, source: Place) -> str:
    """The revision that succeeded there last."""
    async with ctx.store.read() as session:
        last = await deployments.succeeded(session, source.environment.id, limit=1)
    if not last:
        raise UserError("nothing_live", f"nothing is live in {code(source.title)} yet")
    return last[0].commit_hash
