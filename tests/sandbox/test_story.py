"""The story on the sandbox, step by step; the end-to-end tests play the same one on real servers."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bot.sandbox.stage import SandboxStage
from bot.sandbox.story import STEPS, Scene, Step, StoryError


class Play:
    """The story on one stage: each step goes on where the one before it ended, in whatever order they are asked for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._said: dict[str, str] = {}

    def through(self, step: Step) -> str:
        """Play up to this step, unless it was played."""
        for each in STEPS:
            if step.title in self._said:
                break
            if each.title not in self._said:
                self._said[each.title] = each.play(self.scene)
        return self._said[step.title]


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """The story on a sandbox of its own."""
    with SandboxStage() as stage:
        yield Play(Scene(stage, patience=15))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.play.__name__.strip("_"))
def test_step(play: Play, step: Step) -> None:
    """What the step shows is so."""
    assert play.through(step)


def test_waiting_in_vain_says_what_was_expected_and_found(play: Play) -> None:
    """A step that fails shows what was looked at, what should be there, and what is."""
    scene = replace(play.scene, patience=0.05)
    with pytest.raises(StoryError, match=r"the weather \(waited 0.05 s\)\n  expected: sun\n  found:    'rain'"):
        scene.until(lambda: "rain", lambda found: found == "sun", "the weather", "sun")
