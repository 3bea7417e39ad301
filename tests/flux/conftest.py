"""The same tests on the sandbox and, marked e2e, on a real API server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from bot.core import manifests
from bot.core.manifests import Owner
from bot.flux.cluster import KubernetesCluster
from bot.sandbox.flux import SandboxFlux
from bot.sandbox.git import GitStore
from tests.flux.git_server import GitServer
from tests.flux.planes import Plane, RealPlane, SandboxPlane
from tests.flux.project import FILE, REPO, Project, config_map
from tests.postgres import migrated_url

__all__ = ["migrated_url"]


@pytest.fixture
def sandbox() -> Iterator[SandboxPlane]:
    plane = SandboxPlane()
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()


@pytest.fixture(params=["sandbox", pytest.param("real", marks=[pytest.mark.e2e, pytest.mark.timeout(300)])])
def plane(request: pytest.FixtureRequest) -> Plane:
    if request.param == "real":
        return RealPlane(request.getfixturevalue("control_plane"))
    found: SandboxPlane = request.getfixturevalue("sandbox")
    return found


@pytest_asyncio.fixture
async def cluster(plane: Plane) -> AsyncIterator[KubernetesCluster]:
    opened = plane.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def owner(cluster: KubernetesCluster) -> Owner:
    """A project with its namespace."""
    project = uuid4()
    owner = Owner(project=project, namespace=manifests.project_namespace(project), environment=uuid4())
    await cluster.apply(manifests.namespace(owner, owner.namespace))
    return owner


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitStore]:
    store = GitStore(tmp_path)
    store.create(REPO)
    store.commit(REPO, "main", {FILE: config_map("first"), "README.md": b"# Web\n"}, "first", "alice")
    yield store
    store.close()


@pytest_asyncio.fixture
async def project(plane: Plane, cluster: KubernetesCluster, git: GitStore, tmp_path: Path) -> AsyncIterator[Project]:
    if isinstance(plane, SandboxPlane):
        with SandboxFlux(plane.cluster, git.fetch):
            yield Project(plane, cluster, git, "http://git.example")
        return
    server = GitServer(tmp_path)
    server.start()
    yield Project(plane, cluster, git, server.url)
    server.stop()
