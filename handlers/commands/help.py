"""Say what commands there are."""

import msgspec

from bot.context import Context
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`/help [command]`."""

    command: str | None = None


@command("help", needs=Role.NONE, on=("open", "merged", "closed"))
async def help(ctx: Context, args: Args) -> Result:
    """List the commands, or explain one."""
    return done(ctx.help(args.command))
