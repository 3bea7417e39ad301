"""What a command's TARGET names."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from bot.context import Context
from bot.core.comments import nearest
from bot.core.conversation import code
from bot.core.errors import UserError
from bot.inputs import read
from bot.store import deployments, projects
from bot.store.deployments import Place
from models import GitopsResource, Repository


async def places(session: AsyncSession, repository: Repository) -> list[Place]:
    """All environments of a repository; UserError `not_enabled` if there are none."""
    found = await projects.environments(session, repository.id)
    if not found:
        raise UserError("not_enabled", "GitOps is not set up for this repository yet; an admin can `/enable` it")
    several = len(await projects.of_repository(session, repository.id)) > 1
    return [Place(repository, project, environment, several) for project, environment in found]


async def chosen(ctx: Context, targets: Sequence[str]) -> list[Place]:
    """The environments named by `[project/]environment`; all of them for no target.

    Without a project it is the only one that has such an environment, or those that this change touches.
    """
    async with ctx.store.read() as session:
        all_ = await places(session, ctx.repository)
    if not targets:
        return all_
    found: dict[str, Place] = {}
    for target in targets:
        fitting = matching(all_, target)
        for where in fitting if len(fitting) == 1 else await _touched(ctx, target, fitting):
            found[where.title] = where
    return list(found.values())


def matching(all_: Sequence[Place], target: str) -> list[Place]:
    """The environments that a target may mean; UserError `target_unknown` with the nearest name for none."""
    project, _, name = target.rpartition("/")
    fitting = [
        where for where in all_ if where.environment.name == name and (not project or where.project.slug == project)
    ]
    if fitting:
        return fitting
    near = nearest(target, {where.title for where in all_} | {where.environment.name for where in all_})
    hint = f"did you mean {code(near)}?" if near else f"there are {_listed(all_)}"
    raise UserError("target_unknown", f"{code(target, 100)} is no environment here; {hint}")


async def _touched(ctx: Context, target: str, fitting: Sequence[Place]) -> list[Place]:
    """Those that are made of what this change changes; a change that is behind does not tell what it changes."""
    touched = [where for where in fitting if await _touches(ctx, where)] if ctx.pull_request is not None else []
    if not touched:
        known = _listed(fitting, " or ")
        raise UserError("target_ambiguous", f"{code(target, 100)} is in several projects; say {known}")
    return touched


async def _touches(ctx: Context, where: Place) -> bool:
    name, head = ctx.repository.full_name, ctx.change.head
    base = await ctx.forge.branch_head(name, where.environment.branch)
    if base is None or not await ctx.forge.is_ancestor(name, base, head):
        return False
    before, after = [await read(ctx.forge, where, commit) for commit in (base, head)]
    return before.inputs_digest != after.inputs_digest


def _listed(all_: Sequence[Place], joint: str = ", ") -> str:
    return joint.join(code(where.title) for where in all_)


async def sources_of(session: AsyncSession, where: Place) -> tuple[GitopsResource, GitopsResource]:
    """What an environment goes by now, and what applies it."""
    source = await source_of(session, where)
    return source, await session.get_one(GitopsResource, where.environment.gitops_resource_id)


async def source_of(session: AsyncSession, where: Place) -> GitopsResource:
    """The source that an environment goes by now: its own while it is pinned or protected, else what it follows.

    One that followed its branch until now, and is to be protected, goes by the branch's until it is pinned.
    """
    pin = await projects.live_pin(session, where.environment.id)
    if pin is not None:
        return await session.get_one(GitopsResource, pin.source_id)
    if where.rules.protected and not await _ran(session, where):
        own = await projects.own_source(session, where.environment.id)
        if own is not None:
            return own  # a row: its object comes with the first release
    return await projects.followed(session, where.project, where.environment)


async def _ran(session: AsyncSession, where: Place) -> bool:
    """Whether anything was ever applied in an environment."""
    applier = await projects.applier(session, where.environment.id)
    return applier is not None and await deployments.live_commit(session, where.environment.id, applier) is not None
