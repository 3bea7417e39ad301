"""Take GitOps away again: Flux's objects go, what they applied stays unless it is to be pruned."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from bot import dismantling
from bot.context import Context
from bot.core import inventory
from bot.core.conversation import code
from bot.core.errors import TemporaryError, UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.objects import KIND_OF
from bot.registry import command
from bot.store import deployments, disabling, projects
from bot.store.deployments import keep_branch
from models import Environment, GitopsResource, Project

PATIENCE = timedelta(minutes=10)  # for Flux's finalizers
LOOK_AGAIN = 5.0  # seconds; the observer rings sooner
LISTED = 100
logger = structlog.get_logger()


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to become of the workloads."""

    prune: Annotated[bool, Meta(description="remove what Flux applied, too")] = False
    confirm: Annotated[int | None, Meta(description="how many objects that is")] = None


@command("disable", needs=Role.ADMIN)
async def disable(ctx: Context, args: Args) -> Result:
    """Take GitOps away from this repository; what runs keeps running.

    With --prune everything that Flux applied is removed as well: the first answer lists it, and the command is to be
    repeated with --confirm and the number of objects. Namespaces stay in any case. `/enable` begins anew.
    """
    if args.confirm is not None and not args.prune:
        raise UserError("usage", "`--confirm` says how many objects `--prune` removes; without it nothing is removed")
    async with ctx.store.read() as session:
        found = await projects.of_repository(session, ctx.repository.id)
        ended = await disabling.ended_since(session, ctx.repository.id, ctx.run.created_at)
    if not found and not ended:
        raise UserError("not_enabled", "GitOps is not set up for this repository")
    if any(project.status != "disabling" for project in found):
        await _begin(ctx, args, found)
    await _let_others_end(ctx)
    waiting = [each for project in found for each in await _dismantle(ctx, project)]
    if waiting:
        return _not_yet(ctx, waiting)
    for project in found:
        await ctx.credentials.forget(ctx.repository, project)
    async with ctx.store.write() as tx:
        for project in found:
            await disabling.finish(tx, project.id, ctx.run)
    return await _report(ctx)


# The beginning.


async def _begin(ctx: Context, args: Args, found: Sequence[Project]) -> None:
    rows = [row for project in found for row in await _resources(ctx, project)]
    for name in {row.cluster for row in rows}:
        ctx.cluster(name)
    if args.prune:
        await _confirmed(ctx, args, [row for row in rows if row.type in disabling.APPLIERS and not row.adopted])
    async with ctx.store.write() as tx:
        for project in found:
            await disabling.begin(tx, project.id, ctx.run, prune=args.prune)


async def _confirmed(ctx: Context, args: Args, rows: Sequence[GitopsResource]) -> None:
    """Whoever prunes says how many objects go, after having seen which."""
    going = [str(entry) for row in rows for entry in await _applied(ctx, row)]
    if args.confirm == len(going):
        return
    listed = "\n".join(f"- {code(each)}" for each in going[:LISTED])
    more = f"\n- and {len(going) - LISTED} more" if len(going) > LISTED else ""
    raise UserError(
        "confirm_needed",
        f"these {len(going)} objects would be removed, except those that are annotated to be kept; "
        f"to do it: `/disable --prune --confirm {len(going)}`\n\n{listed}{more}",
    )


async def _applied(ctx: Context, row: GitopsResource) -> list[inventory.Entry]:
    """What one object of Flux's would take with it; a suspended one would take nothing."""
    kind = KIND_OF[row.type]
    found = await dismantling.find(ctx.cluster(row.cluster), kind, row.namespace, row.name)
    if found is None:
        return []
    if found["spec"].get("suspend"):
        raise UserError("suspended", f"{kind} {row.namespace}/{row.name} is suspended: Flux would not prune; resume it")
    return inventory.entries(found)


# On the way.


async def _let_others_end(ctx: Context) -> None:
    """Who began before this may still write; nobody begins after it."""
    async with ctx.store.read() as session:
        if await disabling.is_worked_on(session, ctx.repository.id, ctx.run, ctx.store.clock()):
            raise TemporaryError("another command is still at work on the cluster", delay=0.2)


async def _dismantle(ctx: Context, project: Project) -> list[str]:
    """Take the next step; what is still there. A source goes only when nobody goes by it any more."""
    rows = await _resources(ctx, project)
    appliers = [row for row in rows if row.type in disabling.APPLIERS]
    for group in (appliers, [row for row in rows if row not in appliers]):
        waiting = [row for row in group if not row.adopted and not await _is_gone(ctx, row)]
        if waiting:
            return [f"{KIND_OF[row.type]} {row.namespace}/{row.name}" for row in waiting]
    await _remove_the_rest(ctx, project)
    return []


async def _is_gone(ctx: Context, row: GitopsResource) -> bool:
    return await dismantling.is_gone(ctx.cluster(row.cluster), row, prune=disabling.prunes(row))


async def _remove_the_rest(ctx: Context, project: Project) -> None:
    async with ctx.store.read() as session:
        environments = await projects.environments_of(session, project.id)
        pinned = [each.id for each in environments if await projects.live_pin(session, each.id) is not None]
        places = [await deployments.place(session, id) for id in pinned]
    for cluster in dict.fromkeys(each.cluster for each in environments):
        here = [(each.name, each.target_namespace) for each in environments if each.cluster == cluster]
        await dismantling.remove_access(ctx.cluster(cluster), project, here)
    await ctx.credentials.forget(ctx.repository, project)
    for where in places:
        try:
            await ctx.forge.delete_branch(ctx.repository.full_name, keep_branch(where))
        except UserError as error:
            logger.warning("a branch of ours stays", repository=ctx.repository.full_name, why=error.message)


async def _resources(ctx: Context, project: Project) -> Sequence[GitopsResource]:
    async with ctx.store.read() as session:
        return await disabling.resources(session, project.id)


def _not_yet(ctx: Context, waiting: list[str]) -> Result:
    """Flux has to let go first. Its finalizers are never taken out: what they clean up would be left behind."""
    listed = ", ".join(waiting)
    if ctx.store.clock() - ctx.run.created_at < PATIENCE:
        raise TemporaryError(f"waiting until Flux lets go of {listed}", delay=LOOK_AGAIN)
    text = (
        f"Flux does not let go of {listed}, not in {int(PATIENCE.total_seconds() // 60)} minutes. Does its controller "
        "run, and may the environment's account do what it did? Nothing is deployed any more; `/disable` again goes on."
    )
    return Result(outcome="failed", code="finalizer_stuck", text=text)


# The end.


async def _report(ctx: Context) -> Result:
    """By the rows alone: a run that was cut short at its end says the same."""
    async with ctx.store.read() as session:
        gone = await disabling.environments_ended_since(session, ctx.repository.id, ctx.run.created_at)
    return done("\n\n".join(_told(project, environments, prune) for project, environments, prune in gone))


def _told(project: Project, environments: Sequence[Environment], prune: bool) -> str:
    names = ", ".join(code(each.name) for each in environments) or "no environment"
    theirs = [code(each.config["adopt"]) for each in environments if projects.is_adopted(each)]
    targets = ", ".join(code(each.target_namespace) for each in environments if not projects.is_adopted(each))
    if not targets:
        return f"Sluice does not watch {', '.join(theirs)} for {names} any more; it goes on as it was."
    kept = f" {', '.join(theirs)} goes on as it was: others keep it." if theirs else ""
    what = f"What Flux applied to {targets} is removed" if prune else f"What runs in {targets} keeps running"
    return (
        f"GitOps is disabled for {names}. {what}.{kept} Sluice cannot see whether a namespace is empty, so it removes "
        f"none; nothing of its own is left in {code(project.namespace)}."
    )
