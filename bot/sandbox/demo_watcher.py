"""Looks what is new on the stage, again and again, and has it printed while the story goes on."""

import threading
import time
from typing import Self

from bot.sandbox.demo_chronicle import Chronicle
from bot.sandbox.demo_paper import Paper
from bot.sandbox.stage import SandboxStage

LOOK_EVERY = 0.1
PATIENCE = 3.0


class Watcher:
    """A thread that prints the news, from `with` to its end."""

    def __init__(self, stage: SandboxStage, paper: Paper) -> None:
        self._chronicle, self._paper = Chronicle(stage), paper
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._chronicle.close()

    def catch_up(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing is under way any more, and print the last of it."""
        deadline = time.monotonic() + seconds
        while not self._chronicle.quiet() and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY / 5)
        self._look()

    def _look(self) -> None:
        with self._turn:
            for news in self._chronicle.news():
                self._paper.news(news)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            self._look()
