"""Say what every environment has."""

import msgspec

from bot.context import Context
from bot.core.conversation import code, escape
from bot.core.deployments import short
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.store import deployments, projects
from bot.store.deployments import Place
from bot.targets import places, sources_of
from models import Deployment, GitopsResource, Pin


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


@command("status", needs=Role.VIEWER, on=("open", "merged", "closed"))
async def status(ctx: Context, args: Args) -> Result:
    """Show each environment: what is live, what Flux says, what it follows."""
    async with ctx.store.read() as session:
        lines = []
        for where in await places(session, ctx.repository):
            _, applier = await sources_of(session, where)
            live = await deployments.live_commit(session, where.environment.id, applier)
            pin = await projects.live_pin(session, where.environment.id)
            newest = await deployments.newest(session, where.environment.id)
            lines.append(_line(where, applier, live, pin, newest))
    return done("\n".join(lines))


def _line(where: Place, row: GitopsResource, live: str | None, pin: Pin | None, newest: Deployment | None) -> str:
    follows = f"follows {code(where.environment.branch)}"
    if pin is not None:
        follows = f"pinned to {code(short(pin.commit_hash))}" + (f" of #{pin.pull_request}" if pin.pull_request else "")
    parts = [f"{code(short(live))} live" if live else "nothing live yet", row.status, follows]
    if row.status in ("failed", "stalled") and row.status_message:
        parts.append(escape(row.status_message))
    if newest is not None and newest.commit_hash != live:
        parts.append(f"last deployment: {code(short(newest.commit_hash))} {newest.status}")
    return f"- **{escape(where.title)}**: " + "; ".join(parts)
