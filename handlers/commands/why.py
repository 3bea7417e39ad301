"""Say what stands between a change and an environment."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import releasing
from bot.context import Context
from bot.core import gates
from bot.core.conversation import code
from bot.core.deployments import short
from bot.core.paging import page
from bot.core.reasons import Verdict
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.releasing import Asked, Dossier, Gatekeeper
from bot.store import deployments
from bot.store.deployments import Place
from bot.targets import chosen


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where."""

    target: Annotated[str, Meta(description="[project/]environment")]
    page: Annotated[int, Meta(description="where there is much to say", ge=1, le=10_000)] = 1


@command("why", needs=Role.VIEWER, on=("open", "merged", "closed", "commit"), asks_environments=True)
async def why(ctx: Context, args: Args) -> Result:
    """Show every gate of an environment, with pass or fail.

    Of the deployment that waits there; if none does, of this change, as if you wrote /deploy.
    """
    keeper = releasing.of(ctx)
    texts = [await _one(ctx, keeper, where) for where in await chosen(ctx, (args.target,))]
    return done(page("\n\n".join(texts), args.page, f"/why {args.target}"))


async def _one(ctx: Context, keeper: Gatekeeper, where: Place) -> str:
    async with ctx.store.read() as session:
        waiting = await deployments.waiting(session, where.environment.id)
    if waiting is not None:
        found = await keeper.again(waiting)
        return _told(f"{short(waiting.commit_hash)} waits in", where, await _verdict(ctx, keeper, found))
    commit = ctx.call.commit or (ctx.change.merge_commit if ctx.pull_request else None) or ctx.change.head
    asked = Asked(
        command="deploy",
        commit=commit,
        asked_by=ctx.call.actor_id or ctx.run.actor,
        asked_login=ctx.run.actor,
        change=ctx.pull_request,
        named=True,
    )
    found = await keeper.dossier(where, asked)
    return _told(f"If you wrote `/deploy` with {short(commit)} for", where, await _verdict(ctx, keeper, found))


async def _verdict(ctx: Context, keeper: Gatekeeper, found: Dossier) -> Verdict:
    async with ctx.store.read() as session:
        return await keeper.judge(session, found, ctx.store.clock())


def _told(what: str, where: Place, verdict: Verdict) -> str:
    tree = gates.markdown(verdict) or "- ✓ nothing is asked for"
    return f"{what} {code(where.title)}:\n\n{tree}"
