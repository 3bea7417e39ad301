"""What all end-to-end tests share: the servers, one Sluice, and repositories: new ones, and enabled ones in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e import harness
from tests.e2e.harness import Shop, Sluice
from tests.e2e.test_pushes import LITTLE, is_clean
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea


@pytest.fixture(scope="session")
def sluice(control_plane: ControlPlane, gitea: Gitea) -> Iterator[Sluice]:
    """The Sluice that tests share; those that kill or reconfigure one start their own (`own_sluice`)."""
    with Sluice(control_plane, gitea) as started:
        yield started


@pytest.fixture
def own_sluice(control_plane: ControlPlane, gitea: Gitea) -> Iterator[Callable[..., Sluice]]:
    """Start a Sluice for this test alone, with settings of its own: `own_sluice(SLUICE_GITEA_URL=…)`."""
    started: list[Sluice] = []

    def start(**settings: str) -> Sluice:
        one = Sluice(control_plane, gitea, settings)
        started.append(one)
        one.start()
        return one

    yield start
    for each in started:
        each.close()


@pytest.fixture
def shop(sluice: Sluice) -> Shop:
    """A repository with three environments' folders, its webhook registered; nothing is enabled yet."""
    return Shop(sluice)


@pytest.fixture(scope="session")
def given_back() -> list[Shop]:
    """Repositories that no test has at the moment: enabled, with development only."""
    return []


def _enabled(sluice: Sluice) -> Shop:
    shop = Shop(sluice, LITTLE)
    shop.enable(["development"])
    return shop


@pytest.fixture
def little(sluice: Sluice, given_back: list[Shop], request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A repository with development only, which is enabled: that costs much, so it is the next test's after this one.

    What a test pushes is to be new (`news`), and it leaves nothing open: else, or when it fails, the next one gets
    another repository.
    """
    shop = given_back.pop() if given_back else _enabled(sluice)
    failed = request.session.testsfailed
    yield shop
    if request.session.testsfailed == failed and is_clean(shop):
        given_back.append(shop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A test that fails shows the end of each Sluice's log."""
    report = yield
    if report.failed:
        for each in harness.running:
            report.sections.append((f"Sluice at {each.url}", each.tail()))
    return report
