"""Somebody asks for what no waiting deployment stands behind: whether they may, and what came of it."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from bot import releasing
from bot.context import Context
from bot.core import gates
from bot.core.conversation import code
from bot.core.deployments import Phase, short
from bot.core.errors import UserError
from bot.core.gates import Claim, Facts, request_of
from bot.core.reasons import Verdict
from bot.core.roles import Role
from bot.store import locks
from bot.store.deployments import Place
from models import Deployment


async def facts(ctx: Context, where: Place) -> Facts:
    """What a command is judged by; for an operator nothing is asked of the forge."""
    keeper, call, change = releasing.of(ctx), ctx.call, ctx.pull_request
    rules = where.rules if call.operator else (await keeper.rules(where))[0]
    person = await keeper.person(ctx.run.actor, call.actor_id, rules)
    return Facts(
        command=call.name,
        environment=where.title,
        now=ctx.store.clock(),
        rules=rules,
        person=person,
        asked_by=person.id,
        request=request_of(change, ctx.repository.forge_id) if change is not None else None,
    )


def let_take_over(ctx: Context, said: bool) -> None:
    """UserError where somebody who is no admin wants to force what others own."""
    if said and not ctx.call.operator and ctx.role < Role.ADMIN:
        text = f"`--take-over` is for admins, and you have the role {ctx.role.name.lower()}; ask one of them"
        raise UserError("not_permitted", text)


async def let(session: AsyncSession, where: Place, asked: Facts) -> None:
    """UserError with the first gate that is closed, with the lock as it is now."""
    lock = await locks.held(session, where.environment.id, asked.now)
    claim = Claim(owner=lock.owner, owner_id=lock.owner_id, reason=lock.reason, until=lock.expires_at) if lock else None
    first = gates.judge(msgspec.structs.replace(asked, lock=claim)).first
    if first is not None:
        raise UserError(first.code, f"{code(where.title)}: {first.text}")


def told(where: Place, commit: str, verdict: Verdict, made: Deployment | None, *, until: str = "pinned to it") -> str:
    """What came of a deployment that was asked for; UserError with what refuses it."""
    name, what = code(where.title), short(commit)
    first = verdict.first
    if made is None and first is not None and not first.waits:
        raise UserError(first.code, f"{name}: " + "; ".join(each.text for each in verdict.missing()))
    if made is None:
        return f"{what} waits in {name} already."
    if made.status == Phase.WAITING:
        return f"{what} waits in {name}: {first.text if first else ''}."
    return f"Deploying {what} to {name}; {until}."
