"""List what was deployed to an environment."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot.context import Context
from bot.core.conversation import code, escape
from bot.core.deployments import Phase, short
from bot.core.errors import UserError
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.store import deployments
from bot.store.deployments import Place
from bot.targets import chosen
from models import Deployment

PAGE = 15  # rows of an answer
FEWEST = 3  # of one environment, where several are meant


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of which environment."""

    target: Annotated[str, Meta(description="[project/]environment")]
    page: Annotated[int, Meta(description="older ones", ge=1, le=10_000)] = 1


@command("history", needs=Role.VIEWER, on=("open", "merged", "closed", "commit"), asks_environments=True)
async def history(ctx: Context, args: Args) -> Result:
    """List the deployments of an environment, newest first, with the numbers that /rollback takes."""
    found = await chosen(ctx, (args.target,))
    rows = max(PAGE // len(found), FEWEST)
    texts = [await _one(ctx, where, args.page, rows) for where in found]
    return done("\n\n".join(texts))


async def _one(ctx: Context, where: Place, page: int, rows: int) -> str:
    async with ctx.store.read() as session:
        found = await deployments.latest(session, where.environment.id, limit=rows + 1, offset=(page - 1) * rows)
    if not found:
        nothing = "nothing was deployed yet" if page == 1 else f"there is no page {page}"
        raise UserError("nothing_there", f"{where.title}: {nothing}")
    lines = [f"**{escape(where.title)}**", "", *(_line(row) for row in found[:rows])]
    if len(found) > rows:
        lines += ["", f"`/history {where.title} --page {page + 1}` lists older ones."]
    return "\n".join(lines)


def _line(row: Deployment) -> str:
    request = f", on #{row.pull_request}" if row.pull_request is not None else ""
    when = f"{row.finished_at or row.created_at:%Y-%m-%d %H:%M} UTC"
    what = f"- `#{row.number}` {code(short(row.commit_hash))} {row.status.replace('_', ' ')}"
    return f"{what}, {when}: {row.trigger} by {escape(row.requested_by, 60)}{request}{_remark(row)}"


def _remark(row: Deployment) -> str:
    if row.live_revision and row.status == Phase.SUPERSEDED:
        return f"; by {short(row.live_revision)}"
    if row.live_revision and row.status == Phase.SUCCEEDED:
        return f"; as part of {short(row.live_revision)}"
    return f"; {code(row.reason, 60)}" if row.reason else ""
