"""Say what commands there are."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bot.context import Context
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to explain."""

    command: Annotated[str | None, Meta(description="the one to explain", extra={"positional": True})] = None


@command("help", needs=Role.NONE, on=("open", "merged", "closed"))
async def help(ctx: Context, args: Args) -> Result:
    """List the commands, or explain one."""
    return done(ctx.help(args.command))
