"""The demo's story on the real servers, by the same code and with the same assertions as in the sandbox."""

from __future__ import annotations

import pytest

from bot.sandbox.story import Scene, play
from tests.e2e.harness import Sluice
from tests.e2e.real_stage import RealStage

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(240)
def test_the_story(sluice: Sluice) -> None:
    """Where this fails and the sandbox does not, the sandbox is wrong."""
    play(Scene(RealStage(sluice)))
