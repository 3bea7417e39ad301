"""Bring this change to an environment and pin it there."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from bot import asking, editing, meaning, releasing
from bot.context import Context
from bot.core.conversation import code
from bot.core.deployments import short
from bot.core.errors import UserError
from bot.core.reasons import REFUSE, Verdict
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.releasing import Asked, Dossier
from bot.store.deployments import Place
from bot.targets import chosen
from models import Deployment


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to deploy where."""

    target: Annotated[str, Meta(description="[project/]environment")]
    sha: Annotated[str | None, Meta(description="a commit of this change", extra={"positional": True})] = None
    behind: Annotated[bool, Meta(description="also if the change lacks commits of the branch")] = False
    prune_confirmed: Annotated[bool, Meta(description="also if volumes, namespaces or CRDs go with it")] = False
    take_over: Annotated[bool, Meta(description="also over fields that another manager owns (admins)")] = False
    image: Annotated[
        tuple[str, ...], Meta(description="NAME=TAG: commit another image first", extra={"option": True})
    ] = ()
    set_: Annotated[
        tuple[str, ...], Meta(description="PATH=VALUE: commit another value first", extra={"option": True})
    ] = ()
    reason: Annotated[str | None, Meta(description="why, for those who read the log")] = None


@command("deploy", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def deploy(ctx: Context, args: Args) -> Result:
    """Deploy this change's head, or a commit of it, to an environment.

    The environment is pinned to that commit; one that follows its branch does so again when the pull request is closed.
    Where approvals are wanted the deployment waits for them. A change that lacks commits of the branch is refused
    unless you say --behind: deploying it would take them out. Volumes, namespaces and CRDs that would go are named, and
    go only if you say --prune-confirmed.

    Where somebody's other tool took a field of Sluice's objects for its own, the deployment fails and names both; an
    admin's --take-over takes exactly those fields back.

    With --image or --set that one value is changed in the environment's files first, on the environment's branch, and
    what comes of it is deployed; a protected branch gets a pull request instead, and nothing is deployed.
    """
    asking.let_take_over(ctx, args.take_over)
    places = await chosen(ctx, (args.target,))
    wish = editing.wish(args.image, args.set_)
    if wish is not None:
        return await _deploy_edited(ctx, args, _only(places, args), wish)
    commit = await meaning.commit(ctx, args.sha, f"/deploy {args.target}")
    return done(await _deploy(ctx, places, _asked(ctx, args, commit)))


def _asked(ctx: Context, args: Args, commit: str, *, named: bool = False) -> Asked:
    return Asked(
        command="deploy",
        commit=commit,
        asked_by=ctx.call.actor_id or ctx.run.actor,
        asked_login=ctx.run.actor,
        change=ctx.pull_request,
        named=named or args.sha is not None or ctx.call.commit is not None,
        behind=args.behind,
        prune_confirmed=args.prune_confirmed,
        take_over=args.take_over,
    )


async def _deploy(ctx: Context, places: Sequence[Place], asked: Asked) -> str:
    keeper = releasing.of(ctx)
    for where in places:
        ctx.cluster(where.environment.cluster)
    known = [await keeper.dossier(where, asked) for where in places]
    _refuse_stray(ctx, known)
    found = [await keeper.reachable(each) for each in known]
    async with ctx.store.write() as tx:
        opened = [await keeper.open(tx, each, trigger="deploy", run_id=ctx.run.id, by=ctx.run.actor) for each in found]
        told = [_told(where, asked.commit, *each) for where, each in zip(places, opened, strict=True)]
    return "\n\n".join(told)


def _refuse_stray(ctx: Context, found: Sequence[Dossier]) -> None:
    """A forge finds commits of forks by their name as well; what is on no branch here has a request, with its rules."""
    for each in found:
        if ctx.call.commit is not None and not each.facts.on_branch:
            branch = code(each.where.environment.branch)
            text = f"{short(each.parts.commit)} is not on {branch}; deploy it from its pull request"
            raise UserError("sha_not_in_change", text)


# With an edit.


def _only(places: Sequence[Place], args: Args) -> Place:
    if args.sha is not None:
        raise UserError("usage", "an edit makes a commit of its own: name none beside --image and --set")
    if len(places) > 1:
        listed = ", ".join(code(each.title) for each in places)
        raise UserError("target_ambiguous", f"an edit is for one environment; name one of {listed}")
    return places[0]


async def _deploy_edited(ctx: Context, args: Args, where: Place, wish: editing.Wish) -> Result:
    """Nothing is written where the gates would refuse the deployment anyway."""
    await _may(ctx, args, where)
    made = await editing.edit(ctx, where, wish)
    branch = code(where.environment.branch)
    if made.commit is None:
        number = f"#{made.pull_request}" if made.pull_request else "a pull request that is merged already"
        return done(f"{branch} is protected, so the change is proposed by {number}. Nothing is deployed by that.")
    what = f"{short(made.commit)} on {branch} has it" if made.made else f"{branch} says so already"
    try:
        told = await _deploy(ctx, [where], _asked(ctx, args, made.commit, named=True))
    except UserError as error:
        again = f"`/deploy {where.title} {short(made.commit)}`"
        raise UserError(error.code, f"{what}, but it is not deployed: {error.message}. Then: {again}") from error
    return done(f"{what}. {told}")


async def _may(ctx: Context, args: Args, where: Place) -> None:
    head = await ctx.forge.branch_head(ctx.repository.full_name, where.environment.branch)
    if head is None:
        raise UserError("branch_missing", f"there is no branch {code(where.environment.branch)}")
    keeper = releasing.of(ctx)
    found = await keeper.dossier(where, _asked(ctx, args, head, named=True))
    async with ctx.store.read() as session:
        verdict = await keeper.judge(session, found, ctx.store.clock())
    if verdict.outcome == REFUSE:
        raise _refused(where, verdict)


def _told(where: Place, commit: str, verdict: Verdict, made: Deployment | None) -> str:
    follows = where.rules.follows and made is not None and made.pull_request is not None
    until = "pinned until this pull request is closed" if follows else "pinned to it"
    return asking.told(where, commit, verdict, made, until=until)


def _refused(where: Place, verdict: Verdict) -> UserError:
    """By the first gate that waiting does not open."""
    missing = [each for each in verdict.missing() if not each.waits] or list(verdict.missing())
    return UserError(missing[0].code, f"{code(where.title)}: " + "; ".join(each.text for each in verdict.missing()))
