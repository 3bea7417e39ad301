"""May Sluice work in this repository? The person's role was asked for this very run, before its first step."""

from typing import Any

from bot.core.errors import UserError
from bot.core.roles import Role
from bot.enabling.setup import Setup, branch_head


async def check_access(setup: Setup) -> dict[str, Any]:
    """The default branch can be read, and the bot may write statuses and comments."""
    ctx = setup.ctx
    await branch_head(ctx, ctx.repository.default_branch)
    login = await ctx.forge.own_login()
    if await _role(setup, login) < Role.DEPLOYER:
        raise UserError(
            "access_missing",
            f"Sluice's account `{login}` may not write here, so no commit could be told how it went",
        )
    return {"said": f"{ctx.run.actor} is an admin, `{login}` may write"}


async def _role(setup: Setup, login: str) -> Role:
    """Sluice's own role. GitHub does not even tell it to who may not write."""
    try:
        return await setup.ctx.forge.role(setup.ctx.repository.full_name, login)
    except UserError as error:
        if error.code != "forge_refused":
            raise
        return Role.NONE
