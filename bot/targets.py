"""What a command's TARGET names."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.errors import UserError
from bot.store import projects
from bot.store.deployments import Place
from models import GitopsResource, Repository


async def chosen(session: AsyncSession, repository: Repository, targets: Sequence[str]) -> list[Place]:
    """The environments named by `[project/]environment`; all of them for no target."""
    found = await projects.environments(session, repository.id)
    if not found:
        raise UserError("not_enabled", "GitOps is not set up for this repository yet; an admin can `/enable` it")
    several = len({project.id for project, _ in found}) > 1
    places = [Place(repository, project, environment, several) for project, environment in found]
    if not targets:
        return places
    return [_one(places, target) for target in dict.fromkeys(targets)]


def _one(places: Sequence[Place], target: str) -> Place:
    project, _, name = target.rpartition("/")
    fitting = [
        where for where in places if where.environment.name == name and (not project or where.project.slug == project)
    ]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(
        f"`{where.project.slug}/{where.environment.name}`" if where.several_projects else f"`{where.environment.name}`"
        for where in places
    )
    problem = "target_ambiguous" if fitting else "target_unknown"
    what = "is in several projects" if fitting else "is no environment here"
    raise UserError(problem, f"`{target}` {what}; there are {known}")


async def sources_of(session: AsyncSession, where: Place) -> tuple[GitopsResource, GitopsResource]:
    """The GitRepository that an environment goes by now, and its Kustomization."""
    source = await source_of(session, where)
    return source, await session.get_one(GitopsResource, where.environment.gitops_resource_id)


async def source_of(session: AsyncSession, where: Place) -> GitopsResource:
    """The GitRepository that an environment goes by now: its own while it is pinned, else the branch's."""
    pin = await projects.live_pin(session, where.environment.id)
    if pin is not None:
        return await session.get_one(GitopsResource, pin.source_id)
    environment = where.environment
    shared = await projects.shared_source(session, where.project, environment.cluster, environment.branch)
    if shared is None:
        raise UserError("not_enabled", f"{environment.name} has no source; `/enable` makes it again")
    return shared
