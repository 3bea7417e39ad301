"""The same tests on the sandbox and, marked e2e, on a real API server."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio

from bot.core import manifests
from bot.core.manifests import Owner
from bot.flux.cluster import KubernetesCluster
from tests.flux.planes import Plane, RealPlane, SandboxPlane
from tests.servers.control_plane import ControlPlane


@pytest.fixture(scope="package")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        yield plane


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
