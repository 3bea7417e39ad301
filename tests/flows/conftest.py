"""Worlds for the stories: one place for all, a repository for each."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.plans import plans
from tests.world import Place, World

__all__ = ["environ", "plans", "shared", "world"]


class Shared:
    """The place that worlds share; one that a test broke is left, and the next test gets a new one."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.environ: dict[str, str] = {}

    def get(self, environ: dict[str, str]) -> Place:
        if self.place is not None and self.environ != environ:
            self.leave()
        if self.place is None:
            self.place, self.environ = Place(**environ), environ
            self.place.start()
        self.place.configure_log()
        return self.place

    def leave(self) -> None:
        place, self.place = self.place, None
        if place is not None:
            place.stop()


@pytest.fixture(scope="package")
def shared() -> Iterator[Shared]:
    found = Shared()
    yield found
    found.leave()


@pytest.fixture
def environ() -> dict[str, str]:
    """Settings that differ from the town's."""
    return {}


@pytest_asyncio.fixture
async def world(shared: Shared, environ: dict[str, str]) -> AsyncIterator[World]:
    found = World(shared.get(environ))
    try:
        yield found
        await found.end()
    except BaseException:
        shared.leave()
        raise
