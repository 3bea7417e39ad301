"""Take back what waits."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import meaning, releasing
from bot.context import Context
from bot.core import gates, releases
from bot.core.conversation import code
from bot.core.deployments import short
from bot.core.errors import UserError
from bot.core.gates import Facts
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.meaning import Waiting
from bot.registry import command
from bot.store import deployments, stands


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where something waits."""

    target: Annotated[str, Meta(description="[project/]environment")]


@command("cancel", needs=Role.DEPLOYER, on=("open", "merged", "closed", "commit"), asks_environments=True)
async def cancel(ctx: Context, args: Args) -> Result:
    """End the deployment that waits in an environment. Only who asked for it may, or an admin."""
    found = await meaning.in_environments(ctx, args.target)
    if not found:
        raise UserError("nothing_waits", f"nothing waits in {code(args.target, 100)}")
    for each in found:
        await _one(ctx, each)
    what = ", ".join(f"{short(each.deployment.commit_hash)} in {code(each.where.title)}" for each in found)
    return done(f"Cancelled: {what}")


async def _one(ctx: Context, each: Waiting) -> None:
    keeper, row, where = releasing.of(ctx), each.deployment, each.where
    rules, _ = await keeper.rules(where)
    verdict = gates.judge(
        Facts(
            command="cancel",
            environment=where.title,
            now=ctx.store.clock(),
            rules=rules,
            person=await keeper.person(ctx.run.actor, ctx.call.actor_id, rules),
            asked_by=row.requested_by_id or "",
            opened_by=row.requested_by,
        )
    )
    first = verdict.first
    if first is not None:
        raise UserError(first.code, f"{code(where.title)}: {first.text}")
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        stand = await stands.read(tx.session, where.environment)
        changes = releases.decide(stand, releases.Cancelled(row.id, f"by {ctx.run.actor}"))
        if not changes:
            raise UserError("ref_changed", f"{short(row.commit_hash)} does not wait in {code(where.title)} any more")
        await stands.apply(tx, where, changes, by=ctx.run.actor)
