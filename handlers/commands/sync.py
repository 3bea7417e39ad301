"""Have Flux reconcile now instead of at its next interval."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncSession

from bot import adopting, asking
from bot.context import Context
from bot.core import fluxobjects
from bot.core.deployments import short
from bot.core.errors import TemporaryError, UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.objects import KIND_OF
from bot.registry import command
from bot.store import deployments, projects
from bot.store.deployments import Place
from bot.targets import chosen, sources_of
from models import GitopsResource


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which environments; all of them for none."""

    targets: Annotated[tuple[str, ...], Meta(description="only these environments")] = ()


@command("sync", needs=Role.DEPLOYER, asks_environments=True)
async def sync(ctx: Context, args: Args) -> Result:
    """Reconcile environments now; all of them when none is named. Changes no wish."""
    places = await chosen(ctx, args.targets)
    if ctx.is_fork:  # else the role is all that counts, and it was asked for
        await _let_forks(ctx, places)
    async with ctx.store.read() as session:
        sources = [await sources_of(session, where) for where in places]
    empty = [
        where for where, (source, _) in zip(places, sources, strict=True) if where.rules.protected and not source.uid
    ]
    if empty:
        raise UserError("nothing_live", f"nothing was let into `{empty[0].title}` yet, so there is nothing to fetch")
    if any(_on_its_way(where, source) for where, (source, _) in zip(places, sources, strict=True)):
        raise TemporaryError("a source is being made for a pin", delay=0.2)
    asked = set()
    for where, (source, applier) in zip(places, sources, strict=True):
        cluster = ctx.cluster(where.environment.cluster)
        found = await _resumed(ctx, where, KIND_OF[applier.type], applier.namespace, applier.name)
        place = KIND_OF[source.type], source.namespace, source.name
        if projects.is_adopted(where.environment):
            place = await _theirs(ctx, where, found)
        if (where.environment.cluster, place) not in asked:
            await _resumed(ctx, where, *place)
            await cluster.request_reconcile(*place, fluxobjects.token(ctx.store.clock()))
            asked.add((where.environment.cluster, place))
    async with ctx.store.read() as session:
        told = [await _told(session, where, row) for where, (_, row) in zip(places, sources, strict=True)]
    return done(f"Asked Flux to reconcile {', '.join(told)}")


async def _let_forks(ctx: Context, places: Sequence[Place]) -> None:
    for where in places:
        asked = await asking.facts(ctx, where)
        async with ctx.store.read() as session:
            await asking.let(session, where, asked)


def _on_its_way(where: Place, source: GitopsResource) -> bool:
    """Whether the environment was just pinned, and its own source is not in the cluster yet."""
    return source.environment_id is not None and not source.uid and not projects.is_adopted(where.environment)


async def _told(session: AsyncSession, where: Place, row: GitopsResource) -> str:
    applied = await deployments.live_commit(session, where.environment.id, row)
    return f"`{where.title}`" + (f" (has {short(applied)})" if applied else "")


async def _theirs(ctx: Context, where: Place, found: dict[str, Any]) -> tuple[str, str, str]:
    """The source of what others keep; it must still be this repository."""
    source = await adopting.source_of(ctx.cluster(where.environment.cluster), found)
    if source is None or not adopting.is_permitted(ctx.repository, found, source):
        raise adopting.refused(where.environment.config["adopt"])
    return adopting.place_of(source)


async def _resumed(ctx: Context, where: Place, kind: str, namespace: str, name: str) -> dict[str, Any]:
    """The object; what is not there, or suspended, cannot be asked for anything."""
    found = await ctx.cluster(where.environment.cluster).get(kind, namespace, name)
    if found is None:
        raise UserError("object_missing", f"{kind} {namespace}/{name} is not in the cluster; `/enable` makes it again")
    if found["spec"].get("suspend"):
        raise UserError("suspended", f"{kind} {namespace}/{name} is suspended; resume it with the flux CLI first")
    return found
