"""Approvals and pushes race: nobody's approval lets anything in but what they looked at."""

from functools import partial

import pytest

from tests.postgres import new_database
from tests.races import begin, play
from tests.thorough import sample
from tests.world import World, says

STEPS = 40  # about as many as it takes from the voice to the effect


@pytest.mark.thorough
@pytest.mark.timeout(sample(600, 7200))
async def test_approvals_and_pushes(world: World) -> None:
    """Some rounds; `make chaos` plays a thousand."""
    await begin(world)

    rounds = sample(15, 50)
    counts = await play(world, rounds, seed=6)

    assert counts.wrong == []
    assert counts.released + counts.voided == counts.rounds == rounds
    assert counts.released
    assert counts.voided


class TestPostgres:
    """Where writers do not wait for one another."""

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"SLUICE_DATABASE_URL": new_database()}

    @pytest.mark.thorough
    @pytest.mark.timeout(sample(600, 7200))
    async def test_approvals_and_pushes(self, world: World) -> None:
        """The same on PostgreSQL."""
        await begin(world)

        rounds = sample(8, 50)
        counts = await play(world, rounds, seed=7)

        assert counts.wrong == []
        assert counts.released + counts.voided == rounds


@pytest.mark.thorough
@pytest.mark.timeout(sample(600, 7200))
async def test_killed_while_it_is_let_through(world: World) -> None:
    """Wherever the process dies between the last voice and the release, it goes there once, and once only."""
    await begin(world)
    world.may_log_errors = True
    for step in range(1, STEPS, sample(20, 1)):
        head = world.push(says(f"step {step}", "production"), branch="topic")
        await world.settled()
        await world.comment("/deploy production")
        world.place.life.dies_at(step)
        world.write("/approve production", by="maia")
        await world.until(partial(_over, world, head))
        await world.kill()
        await world.rise()
        await world.settled()

        assert world.live("production") == f"step {step}"
        [row] = await world.deployments(head)
        assert row.status == "succeeded"
        assert len(await world.pins()) == 1


async def _over(world: World, head: str) -> bool:
    return world.place.life.dead or [row.status for row in await world.deployments(head)] == ["succeeded"]
