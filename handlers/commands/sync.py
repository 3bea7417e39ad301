"""Have Flux reconcile now instead of at its next interval."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot.context import Context
from bot.core import fluxobjects
from bot.core.deployments import commit_of, short
from bot.core.errors import UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.store.deployments import Place
from bot.targets import chosen, sources_of
from models import GitopsResource


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which environments; all of them for none."""

    targets: Annotated[tuple[str, ...], Meta(description="only these environments")] = ()


@command("sync", needs=Role.DEPLOYER)
async def sync(ctx: Context, args: Args) -> Result:
    """Reconcile environments now; all of them when none is named. Changes no wish."""
    places = await chosen(ctx, args.targets)
    async with ctx.store.read() as session:
        sources = [await sources_of(session, where) for where in places]
    asked = set()
    for where, (source, kustomization) in zip(places, sources, strict=True):
        cluster = ctx.cluster(where.environment.cluster)
        await _refuse_suspended(ctx, where, "Kustomization", kustomization.namespace, kustomization.name)
        if source.id not in asked:
            await _refuse_suspended(ctx, where, "GitRepository", source.namespace, source.name)
            token = fluxobjects.token(ctx.store.clock())
            await cluster.request_reconcile("GitRepository", source.namespace, source.name, token)
            asked.add(source.id)
    told = ", ".join(_told(where, row) for where, (_, row) in zip(places, sources, strict=True))
    return done(f"Asked Flux to reconcile {told}")


def _told(where: Place, row: GitopsResource) -> str:
    applied = commit_of(row.last_applied_revision)
    return f"`{where.title}`" + (f" (has {short(applied)})" if applied else "")


async def _refuse_suspended(ctx: Context, where: Place, kind: str, namespace: str, name: str) -> None:
    found = await ctx.cluster(where.environment.cluster).get(kind, namespace, name)
    if found is None:
        raise UserError("object_missing", f"{kind} {namespace}/{name} is not in the cluster; `/enable` makes it again")
    if found["spec"].get("suspend"):
        raise UserError("suspended", f"{kind} {namespace}/{name} is suspended; resume it with the flux CLI first")
