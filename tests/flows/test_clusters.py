"""One project with environments in two clusters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bot.sandbox.cluster import SandboxCluster
from bot.sandbox.flux import SandboxFlux
from bot.sandbox.server import Loopback
from tests.world import Place, World, says

CONFIG = """\
version: 1
environments:
  development: { path: deploy/development }
  production: { path: deploy/production, cluster: edge }
"""


class Edge:
    """A second cluster with a Flux of its own."""

    def __init__(self, folder: Path) -> None:
        self.cluster = SandboxCluster()
        self._server = Loopback(self.cluster)
        self.kubeconfig = folder / "edge"
        self.kubeconfig.write_text(yaml.safe_dump(self.cluster.kubeconfig(self._server.start())))
        self._flux: SandboxFlux | None = None

    def start(self, place: Place) -> None:
        """Let its Flux fetch from the town's forge."""
        self._flux = SandboxFlux(self.cluster, place.town.forge.store.fetch)
        self._flux.start()

    def stop(self) -> None:
        """Stop Flux, then listen no more."""
        if self._flux is not None:
            self._flux.stop()
        self._server.stop()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    found = Edge(tmp_path_factory.mktemp("edge"))
    yield found
    found.stop()


@pytest.fixture
def environ(edge: Edge) -> dict[str, str]:
    return {"SLUICE_KUBECONFIGS": f"edge={edge.kubeconfig}"}


@pytest.fixture
def shop(world: World, edge: Edge) -> World:
    """Production is in the other cluster."""
    edge.start(world.place)
    world.push({".sluice.yaml": CONFIG})
    return world


async def test_environments_in_two_clusters(shop: World, edge: Edge) -> None:
    """Its namespace and its source are made in each; each environment is in its own only, and a push reaches both."""
    await shop.enabled("development", "production")

    namespace = shop.namespace()
    found = {
        name: {
            kind: [one["metadata"]["name"] for one in cluster.list(kind, namespace)]
            for kind in ("GitRepository", "Kustomization", "ServiceAccount", "Secret")
        }
        for name, cluster in (("default", shop.cluster), ("edge", edge.cluster))
    }
    shared = {"GitRepository": ["branch-main"], "Secret": ["git-credentials"]}
    assert found == {
        "default": {**shared, "Kustomization": ["development"], "ServiceAccount": ["sluice-development"]},
        "edge": {**shared, "Kustomization": ["production"], "ServiceAccount": ["sluice-production"]},
    }
    sha = shop.push({**says("both"), **says("both", "production")})
    await shop.settled()
    assert shop.states(sha, "development") == ["pending", "success"]
    assert shop.states(sha, "production") == ["pending", "success"]
    assert shop.live("development") == "both"
    live = edge.cluster.get("ConfigMap", f"{namespace}-production", "config")
    assert live is not None
    assert live["data"]["said"] == "both"


async def test_a_pin_in_the_other_cluster(shop: World, edge: Edge) -> None:
    """`/deploy` pins where the environment is, and nowhere else."""
    await shop.enabled("development", "production")
    shop.open_pull_request(says("topic", "production"))

    await shop.comment("/deploy production", by="dave")

    assert await shop.results("deploy") == [("done", None)]
    namespace = shop.namespace()
    assert edge.cluster.get("GitRepository", namespace, "pin-production") is not None
    assert shop.cluster.get("GitRepository", namespace, "pin-production") is None


async def test_a_cluster_that_nobody_configured(shop: World) -> None:
    """Refused with the names that there are."""
    shop.push({".sluice.yaml": CONFIG.replace("edge", "moon")})
    shop.open_pull_request({"topic.txt": "x"}, "alice")

    await shop.comment("/enable production", by="alice")

    assert (await shop.results("enable"))[-1][0] == "refused"
    assert "moon" in shop.comment_text()
