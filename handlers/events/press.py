"""Somebody pressed a button below a check of ours: it is the command that they would have written on the commit."""

import msgspec

from bot.context import Context
from bot.core.calls import Call
from bot.core.deployments import Phase, short
from bot.core.events import Pressed
from bot.core.results import Result, ignored
from bot.registry import event, work
from bot.store import approvals, deployments
from bot.targets import places

COMMANDS = {"approve", "reject"}
AGAIN = "again"


class Again(msgspec.Struct, frozen=True):
    """The check of an environment on a commit is to be made anew."""

    commit: str
    environment: str


@event(Pressed)
def calls(event: Pressed) -> list[Call]:
    """One command for each person and state of the check that they saw; what they may is asked as of a comment."""
    target = event.name.partition("/")[2]
    if event.actor_is_bot:
        return []
    if event.button not in COMMANDS:
        return [_call(event, kind="work", name=AGAIN, arguments={"commit": event.commit, "environment": target})]
    words = (target, event.commit) if event.button == "approve" else (target,)
    return [_call(event, kind="command", name=event.button, words=words, commit=event.commit)]


def _call(event: Pressed, **more: object) -> Call:
    repository, who = event.repository, event.actor_id or event.actor
    key = f"{repository.forge}:{repository.id}:check:{event.check_id}:{event.key}:{event.button}:{who}"
    base = Call(kind="work", name=AGAIN, key=key, actor=event.actor, actor_id=event.actor_id)
    return msgspec.structs.replace(base, **more)


@work(AGAIN)
async def again(ctx: Context, args: Again) -> Result:
    """Say it once more, since GitHub forgot what the check said; what waits is looked at."""
    async with ctx.store.write() as tx:
        for where in await places(tx.session, ctx.repository):
            if where.title != args.environment:
                continue
            row = await deployments.last_of_commit(tx.session, where.environment.id, args.commit)
            if row is None:
                break
            await deployments.say(tx, where, row)
            await approvals.ring(tx, [row.id] if row.status == Phase.WAITING else [])
            return ignored(f"{short(args.commit)} is told again")
    return ignored(f"there is no deployment of {short(args.commit)}")
