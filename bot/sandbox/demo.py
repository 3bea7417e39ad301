"""`sluice demo`: plays the story in the sandbox and shows what happens; afterwards, if asked, lets people try it."""

import contextlib
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from bot.sandbox.demo_paper import Paper
from bot.sandbox.demo_prompt import Prompt
from bot.sandbox.demo_watcher import Watcher
from bot.sandbox.stage import SandboxStage
from bot.sandbox.story import STEPS, Scene, Step, StoryError

INTERRUPTED = 130


def _program() -> str:
    """How the reader started this: installed, or from a checkout."""
    if Path(sys.argv[0]).name == "sluice":
        return "sluice"
    python = Path(sys.executable)
    return f"{python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python} -m bot"


def main(*, stay: bool) -> int:
    """Play the story; exit code 0 if everything was as it should be, 1 if not, 130 after Ctrl-C."""
    paper = Paper()
    try:
        with _Interruptible(), SandboxStage() as stage, Watcher(stage, paper) as watcher:
            paper.opening(stage)
            scene = Scene(stage)
            good = _play(scene, paper, watcher)
            if stay:
                Prompt(stage, scene, paper, watcher).run()
            elif good:
                paper.say(f"To try it yourself: {_program()} demo --stay")
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            paper.say("\nStopped; everything is cleaned up.")
        return INTERRUPTED
    return 0 if good else 1


def _play(scene: Scene, paper: Paper, watcher: Watcher) -> bool:
    """The story, shown as it happens; False as soon as a step is not as it should be."""
    began = time.monotonic()
    for number, step in enumerate(STEPS, 1):
        paper.step(number, len(STEPS), step.title)
        if not _step(scene, step, paper, watcher):
            return False
    paper.conversation(scene.stage, scene.repository, scene.change)
    paper.ending(len(STEPS), time.monotonic() - began)
    return True


def _step(scene: Scene, step: Step, paper: Paper, watcher: Watcher) -> bool:
    began = time.monotonic()
    try:
        shown = step.play(scene)
    except Exception as error:
        watcher.catch_up()
        evidence = str(error) if isinstance(error, StoryError) else f"{type(error).__name__}: {error}"
        paper.failure(step.title, evidence, scene)
        return False
    lasted = time.monotonic() - began
    watcher.catch_up()
    paper.success(shown, lasted)
    return True


class _Interruptible:
    """What ends the demo from outside is like Ctrl-C: everything is stopped and removed."""

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(stay="--stay" in sys.argv))
