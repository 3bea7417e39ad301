"""Say yes to what waits."""

from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import Meta

from bot import meaning, releasing
from bot.context import Context
from bot.core import binding, people
from bot.core.conversation import code
from bot.core.deployments import Phase, short
from bot.core.errors import TemporaryError, UserError
from bot.core.people import Person
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.meaning import Waiting
from bot.registry import command
from bot.releasing import Dossier, Gatekeeper, parts_of
from bot.store import approvals, deployments
from models import Deployment


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to approve."""

    target: Annotated[str | None, Meta(description="[project/]environment", extra={"positional": True})] = None
    sha: Annotated[str | None, Meta(description="the commit that you looked at", extra={"positional": True})] = None


@command("approve", needs=Role.DEPLOYER, on=("open", "merged", "commit"), asks_environments=True)
async def approve(ctx: Context, args: Args) -> Result:
    """Approve what waits here: your one voice on exactly what it is now.

    It takes the role approver, or to be named by the environment's `approvers`. Who asked for it, opened the request,
    pushed to it or wrote a part of it is not counted. Without a commit the head that you saw must be what waits.
    """
    target, sha = either(args.target, args.sha)
    keeper, told = releasing.of(ctx), []
    for each in await meaning.waiting(ctx, target, sha, "approve"):
        told.append(await _one(ctx, keeper, each))
    return done("\n\n".join(told))


def either(target: str | None, sha: str | None) -> tuple[str | None, str | None]:
    """A single word that looks like a commit is one."""
    if sha is None and target is not None and meaning.SHA.fullmatch(target.lower()):
        return None, target
    return target, sha


async def _one(ctx: Context, keeper: Gatekeeper, each: Waiting) -> str:
    found = await keeper.again(each.deployment)
    person = await keeper.person(ctx.run.actor, ctx.call.actor_id, found.rules)
    _refuse(each, found, person)
    async with ctx.store.write() as tx:
        await deployments.one_at_a_time(tx.session, each.deployment.environment_id)
        row = await tx.session.get_one(Deployment, each.deployment.id, populate_existing=True)
        if row.status != Phase.WAITING:
            raise TemporaryError("it ended meanwhile", delay=0.05)
        await approvals.give(tx, each.where, row, person, run_id=ctx.run.id)
        heard = replace(found, persons={**found.persons, person.id: person})
        verdict = await keeper.judge(tx.session, heard, tx.now)
    first = verdict.first
    said = f"{short(row.commit_hash)} is approved in {code(each.where.title)}"
    return f"{said}: {first.text}." if first else f"{said}, and goes on its way."


def _refuse(each: Waiting, found: Dossier, person: Person) -> None:
    """UserError where the voice would not count."""
    allowed = people.may_approve(person, found.rules)
    if not allowed.passed:
        raise UserError(allowed.code, f"{code(each.where.title)}: {allowed.text}")
    if person.id in found.facts.barred:
        why = found.facts.barred[person.id]
        raise UserError("own_change", f"{code(person.login, 60)} {why}, so somebody else must approve")
    if found.chain != each.deployment.chain_digest:
        moved = binding.moved(parts_of(each.deployment), found.parts)
        raise UserError("ref_changed", f"{', '.join(moved)} moved since it was asked for; it ends, nothing is approved")
