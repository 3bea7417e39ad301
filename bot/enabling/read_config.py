"""Is what the default branch says fit to be set up? Branches and folders must be there."""

from collections.abc import Sequence
from typing import Any

from bot.core import adoption
from bot.core.conversation import code
from bot.core.deployments import short
from bot.core.errors import UserError
from bot.core.repoconfig import FILE, Environment
from bot.enabling import scaffold
from bot.enabling.setup import Setup


async def read_config(setup: Setup) -> dict[str, Any]:
    """The configuration holds, every branch exists, and every environment has its folder there."""
    wanted = setup.wanted
    setup.ctx.check_policy(list(wanted.asked.values()))
    for branch, head in (await setup.heads()).items():
        here = [each for each in wanted.asked.values() if each.branch == branch]
        missing = await _without_folder(setup, [each for each in here if each.helm is None], head)
        if missing:
            await _scaffold(setup, branch, missing)
            raise UserError("path_missing", scaffold.files_to_add(branch, missing))
        await _refuse_without_chart(setup, [each for each in here if each.helm is not None], head)
    await _refuse_another_branch(setup)
    names = ", ".join(code(each.name) for each in wanted.asked.values())
    source = (
        f"{code(FILE)} at {code(short(wanted.head))}" if wanted.configured else f"the defaults, without {code(FILE)}"
    )
    return {"said": f"{names}, by {source}", "commit": wanted.head}


async def _refuse_another_branch(setup: Setup) -> None:
    """What others keep follows a branch of their choice; reports of another one would tell of nothing."""
    found = await setup.adopted()
    for each in setup.wanted.asked.values():
        if each.name not in found:
            continue
        branch = adoption.branch_of(found[each.name].source)
        if branch != each.branch:
            follows = f"follows {code(branch)}; set `branch` to it" if branch else "follows no branch"
            raise UserError("config_unsupported", f"{code(FILE)}: {code(each.name)}: what is adopted {follows}")


async def _scaffold(setup: Setup, branch: str, missing: Sequence[Environment]) -> None:
    """Propose what is missing, if that was asked for; a person merges it."""
    number = await scaffold.propose(setup, branch, missing) if setup.scaffold else None
    if number is not None:
        names = ", ".join(code(each.path) for each in missing)
        raise UserError("scaffold_open", f"pull request #{number} adds what is missing on {code(branch)}: {names}")


async def _without_folder(setup: Setup, environments: Sequence[Environment], head: str) -> list[Environment]:
    tree = await setup.ctx.forge.tree(setup.ctx.repository.full_name, head)
    if tree.truncated:
        return []  # Flux will say it
    return [each for each in environments if any(path not in tree.entries for path in each.needed)]


async def _refuse_without_chart(setup: Setup, environments: Sequence[Environment], head: str) -> None:
    """A chart's folder and the files of values must be there; a chart is nothing that could be proposed."""
    tree = await setup.ctx.forge.tree(setup.ctx.repository.full_name, head)
    missing = [path for each in environments for path in each.needed if path not in tree.entries]
    if missing and not tree.truncated:
        listed = "\n".join(f"- {code(path)}" for path in dict.fromkeys(missing))
        raise UserError(
            "path_missing", f"these files of charts do not exist on {code(environments[0].branch)}:\n\n{listed}"
        )
