"""The life of a deployment, as the one table has it."""

import uuid
from itertools import product

import pytest

from bot.core.deployments import TERMINAL, UNSETTLED, Phase
from bot.core.lifecycle import MOVES, allowed, effect, sources

FORBIDDEN = [
    (Phase.WAITING, Phase.APPLYING),
    (Phase.WAITING, Phase.RECONCILING),
    (Phase.WAITING, Phase.SUCCEEDED),
    (Phase.QUEUED, Phase.WAITING),
    (Phase.QUEUED, Phase.REJECTED),
    (Phase.RECONCILING, Phase.WAITING),
    (None, Phase.SUCCEEDED),
]


@pytest.mark.parametrize(("before", "after"), FORBIDDEN)
def test_nothing_goes_around_a_gate(before: Phase | None, after: Phase) -> None:
    """What waits gets to the cluster by the queue only, and what is under way never waits again."""
    assert not allowed(before, after)


@pytest.mark.parametrize(("before", "after"), [*product(sorted(TERMINAL), Phase)])
def test_an_end_is_an_end(before: Phase, after: Phase) -> None:
    """Nothing leads out of a terminal phase, not even to itself."""
    assert not allowed(before, after)


@pytest.mark.parametrize("phase", UNSETTLED)
def test_everything_that_lives_can_end(phase: Phase) -> None:
    """And can say something new without moving."""
    assert allowed(phase, phase)
    assert {move.after for move in MOVES if move.before == phase} & TERMINAL


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_be_reached(phase: Phase) -> None:
    """From nothing, step by step."""
    reached: set[Phase | None] = {None}
    while more := {move.after for move in MOVES if move.before in reached} - reached:
        reached |= more
    assert phase in reached
    assert all(allowed(before, phase) for before in sources(phase))


def test_effects_have_keys_of_their_own() -> None:
    """Whoever gets to a phase does the same, by whichever way; moves of the pin go by its number."""
    ids = {"deployment": uuid.UUID(int=1), "environment": uuid.UUID(int=2)}
    assert effect(Phase.QUEUED, **ids, number=7) == f"environment:{ids['environment']}:pin:7"
    assert effect(Phase.REJECTED, **ids, number=7) == f"deployment:{ids['deployment']}:rejected"
    assert len({(move.before, move.after) for move in MOVES}) == len(MOVES)
    assert len({(move.after, move.effect) for move in MOVES}) == len(Phase)
