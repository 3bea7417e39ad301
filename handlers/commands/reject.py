"""Say no to what waits."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot import meaning, releasing
from bot.context import Context
from bot.core import people, releases
from bot.core.conversation import code, escape
from bot.core.deployments import short
from bot.core.errors import UserError
from bot.core.people import Person
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.meaning import Waiting
from bot.registry import command
from bot.store import approvals, deployments, stands
from models import Deployment

REASON_LIMIT = 300


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to reject, and why."""

    target: Annotated[str | None, Meta(description="[project/]environment", extra={"positional": True})] = None
    reason: Annotated[tuple[str, ...], Meta(description="why, in your words")] = ()


@command("reject", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def reject(ctx: Context, args: Args) -> Result:
    """Reject what waits here: it ends, and is not deployed. One such voice is enough.

    It takes the same people as /approve.
    """
    reason = " ".join(args.reason)[:REASON_LIMIT]
    told = [await _one(ctx, each, reason) for each in await meaning.waiting(ctx, args.target, None, "reject")]
    return done("\n\n".join(told))


async def _one(ctx: Context, each: Waiting, reason: str) -> str:
    keeper = releasing.of(ctx)
    rules, _ = await keeper.rules(each.where)
    person = await keeper.person(ctx.run.actor, ctx.call.actor_id, rules)
    allowed = people.may_approve(person, rules)
    if not allowed.passed:
        raise UserError(allowed.code, f"{code(each.where.title)}: {allowed.text}")
    await _end(ctx, each, person, reason)
    why = f": {escape(reason)}" if reason else ""
    return f"{short(each.deployment.commit_hash)} is rejected in {code(each.where.title)}{why}"


async def _end(ctx: Context, each: Waiting, person: Person, reason: str) -> None:
    where = each.where
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, where.environment.id)
        row = await tx.session.get_one(Deployment, each.deployment.id, populate_existing=True)
        text = f"by {person.login}" + (f": {reason}" if reason else "")
        stand = await stands.read(tx.session, where.environment)
        changes = releases.decide(stand, releases.Rejected(row.id, text))
        if not changes:
            raise UserError("ref_changed", f"{short(row.commit_hash)} does not wait any more, it is {row.status}")
        await stands.apply(tx, where, changes, by=person.login)
        await approvals.give(
            tx, where, row, person, verdict=approvals.REJECTED, reason=reason or None, run_id=ctx.run.id
        )
