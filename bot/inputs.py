"""What an environment is made of at a commit, read from the forge."""

from dataclasses import dataclass

from bot import objects
from bot.core.inputs import Following, Inputs, digest
from bot.core.ports import Forge
from bot.store.deployments import Place


@dataclass(frozen=True)
class Evidence:
    """The digests that a deployment is bound to."""

    inputs: Inputs
    inputs_digest: str
    config_digest: str


async def read(forge: Forge, where: Place, commit: str) -> Evidence:
    """Follow the environment's kustomizations at a commit."""
    name = where.repository.full_name
    tree = await forge.tree(name, commit)
    following = Following(tree, where.environment.path)
    while following.wanted:
        for path in sorted(following.wanted):
            following.feed(path, await forge.blob(name, tree.entries[path].oid))
    spec = objects.kustomization(where, "")["spec"]
    del spec["sourceRef"]
    inputs = following.result
    return Evidence(inputs, digest(inputs, spec), digest(Inputs(paths={}, whole_repository=False), spec))
