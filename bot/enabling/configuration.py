"""Reads what is wanted: the configuration on the default branch, never the pull request's, and what is asked of it."""

from collections.abc import Mapping, Sequence

from bot.context import Context
from bot.core import repoconfig
from bot.core.errors import UserError
from bot.core.repoconfig import Config
from bot.enabling.setup import Wanted, branch_head
from models import Repository


async def read(ctx: Context, targets: Sequence[str]) -> dict[str, Wanted]:
    """The projects that are asked for, by name; all that there are for no targets."""
    head = await branch_head(ctx, ctx.repository.default_branch)
    tree = await ctx.forge.tree(ctx.repository.full_name, head)
    entry = tree.entries.get(repoconfig.FILE)
    content = await ctx.forge.blob(ctx.repository.full_name, entry.oid) if entry else None
    config = _config(ctx.repository, content)
    known = {project.name: [each.name for each in project.environments] for project in config.projects}
    asked = chosen(known, targets)
    return {
        project.name: Wanted(
            project=project,
            head=head,
            configured=content is not None,
            asked={place: each for place, each in enumerate(project.environments) if each.name in asked[project.name]},
        )
        for project in config.projects
        if project.name in asked
    }


def _config(repository: Repository, content: bytes | None) -> Config:
    if content is None:
        return repoconfig.default(repository.default_branch, repository.full_name)
    return repoconfig.parse(content, repository.default_branch, repository.full_name)


def chosen(known: Mapping[str, Sequence[str]], targets: Sequence[str]) -> dict[str, set[str]]:
    """The environments that targets name, by project; `[project/]environment`, everything for no targets."""
    if not targets:
        return {project: set(environments) for project, environments in known.items()}
    result: dict[str, set[str]] = {}
    for target in targets:
        project, _, name = target.rpartition("/")
        fitting = [each for each, names in known.items() if name in names and project in ("", each)]
        if len(fitting) != 1:
            raise _unclear(target, known, several=len(fitting) > 1)
        result.setdefault(fitting[0], set()).add(name)
    return result


def _unclear(target: str, known: Mapping[str, Sequence[str]], *, several: bool) -> UserError:
    prefix = len(known) > 1
    names = [f"`{project}/{name}`" if prefix else f"`{name}`" for project, names in known.items() for name in names]
    if several:
        return UserError("target_ambiguous", f"`{target}` is in several projects; there are {', '.join(names)}")
    return UserError("target_unknown", f"`{target}` is no environment here; there are {', '.join(names)}")
