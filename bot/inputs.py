"""What an environment is made of at a commit, read from the forge."""

from dataclasses import dataclass

from bot import objects
from bot.core.chart_inputs import FollowingChart
from bot.core.inputs import Following, Inputs, digest
from bot.core.ports import Forge, Tree
from bot.store import projects
from bot.store.deployments import Place
from models import Environment


@dataclass(frozen=True)
class Evidence:
    """The digests that a deployment is bound to."""

    inputs: Inputs
    inputs_digest: str
    config_digest: str


async def read(forge: Forge, where: Place, commit: str) -> Evidence:
    """Follow the environment's kustomizations, or its chart, at a commit."""
    name = where.repository.full_name
    tree = await forge.tree(name, commit)
    following = _following(tree, where.environment)
    while following.wanted:
        for path in sorted(following.wanted):
            following.feed(path, await forge.blob(name, tree.entries[path].oid))
    spec = objects.wish(where)
    inputs = following.result
    return Evidence(inputs, digest(inputs, spec), digest(Inputs(paths={}, whole_repository=False), spec))


def _following(tree: Tree, environment: Environment) -> Following | FollowingChart:
    chart = environment.config.get("helm")
    if chart is None:
        components = environment.config.get("kustomization", {}).get("components", ())
        return Following(tree, environment.path, components)
    inside = None if projects.is_elsewhere(environment) else chart["chart"]
    return FollowingChart(tree, inside, tuple(chart.get("values", ())))
