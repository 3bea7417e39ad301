"""Approvals and pushes race: nobody's approval lets anything in but what they looked at."""

import pytest

from tests.races import begin, play
from tests.world import World


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_approvals_and_pushes(world: World) -> None:
    """Fifty rounds; `make chaos` plays a thousand."""
    await begin(world)

    counts = await play(world, 50, seed=6)

    assert counts.wrong == []
    assert counts.released + counts.voided == counts.rounds == 50
    assert counts.released
    assert counts.voided
