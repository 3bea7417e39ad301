"""Bring this change to an environment and pin it there."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking, meaning, releasing
from bot.context import Context
from bot.core.reasons import Verdict
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.releasing import Asked
from bot.store.deployments import Place
from bot.targets import chosen
from models import Deployment


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to deploy where."""

    target: Annotated[str, Meta(description="[project/]environment")]
    sha: Annotated[str | None, Meta(description="a commit of this change", extra={"positional": True})] = None
    behind: Annotated[bool, Meta(description="also if the change lacks commits of the branch")] = False
    reason: Annotated[str | None, Meta(description="why, for those who read the log")] = None


@command("deploy", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def deploy(ctx: Context, args: Args) -> Result:
    """Deploy this change's head, or a commit of it, to an environment.

    The environment is pinned to that commit; one that follows its branch does so again when the pull request is closed.
    Where approvals are wanted the deployment waits for them. A change that lacks commits of the branch is refused
    unless you say --behind: deploying it would take them out.
    """
    places = await chosen(ctx, (args.target,))
    commit = await meaning.commit(ctx, args.sha, f"/deploy {args.target}")
    keeper = releasing.of(ctx)
    asked = Asked(
        command="deploy",
        commit=commit,
        asked_by=ctx.call.actor_id or ctx.run.actor,
        asked_login=ctx.run.actor,
        change=ctx.pull_request,
        named=args.sha is not None or ctx.call.commit is not None,
        behind=args.behind,
    )
    for where in places:
        ctx.cluster(where.environment.cluster)
    found = [await keeper.reachable(await keeper.dossier(where, asked)) for where in places]
    async with ctx.store.write() as tx:
        opened = [await keeper.open(tx, each, trigger="deploy", run_id=ctx.run.id, by=ctx.run.actor) for each in found]
        told = [_told(where, commit, *each) for where, each in zip(places, opened, strict=True)]
    return done("\n\n".join(told))


def _told(where: Place, commit: str, verdict: Verdict, made: Deployment | None) -> str:
    follows = where.rules.follows and made is not None and made.pull_request is not None
    until = "pinned until this pull request is closed" if follows else "pinned to it"
    return asking.told(where, commit, verdict, made, until=until)
