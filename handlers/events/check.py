"""Somebody else's check ended on a commit: what waits for it is looked at again."""

import msgspec

from bot.context import Context
from bot.core import gates
from bot.core.arrivals import CHECKED, checked_call
from bot.core.calls import Call
from bot.core.events import Checked
from bot.core.reasons import from_json
from bot.core.results import Result, ignored
from bot.registry import event, work
from bot.store import approvals


class Ended(msgspec.Struct, frozen=True):
    """The check `name` came to its end on a commit."""

    commit: str
    name: str


@event(Checked)
def calls(event: Checked) -> list[Call]:
    """What became of it the forge is asked when it matters."""
    repository = event.repository
    return [checked_call(repository.forge, repository.id, event.commit, event.name, event.actor)]


@work(CHECKED)
async def ended(ctx: Context, args: Ended) -> Result:
    """Ring for what waits with this commit and for this check; a commit may have hundreds that nobody waits for."""
    async with ctx.store.write() as tx:
        waiting = await approvals.of_commit(tx.session, ctx.repository.id, args.commit)
        found = [row.id for row in waiting if gates.asks_for(from_json(row.gates), args.name)]
        await approvals.ring(tx, found)
    return ignored(f"{len(found)} wait for it")
