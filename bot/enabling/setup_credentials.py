"""What Flux fetches with: credentials that the forge accepts, as a Secret in the project's namespace."""

from typing import Any

from bot import objects
from bot.core import manifests
from bot.enabling import cluster
from bot.enabling.setup import Setup


async def setup_credentials(setup: Setup) -> dict[str, Any]:
    """Credentials of the kind that the configuration says, tried at the forge; a public repository may do without."""
    ctx, project, wanted = setup.ctx, setup.project, setup.wanted
    if not wanted.fetching:
        return {"said": "nothing of this repository is fetched for Sluice"}
    access = await ctx.credentials.ensure(ctx.repository, project, kind=wanted.git, actor=ctx.run.actor)
    if access is None:
        return {"said": "a public repository needs none"}
    ours = objects.owner(project)
    for name in wanted.fetching:
        await cluster.own_namespace(setup, name, project.namespace)
        await cluster.write(ctx.cluster(name), manifests.namespace(ours, project.namespace))
        await cluster.write(ctx.cluster(name), manifests.credentials(ours, access.secret))
    return {"said": access.said}
