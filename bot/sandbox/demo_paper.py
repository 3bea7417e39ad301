"""How the demo looks: on a terminal with colours, elsewhere without."""

import sys
import textwrap
from io import TextIOWrapper

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from bot.sandbox.demo_chronicle import CAME_IN, CLUSTER, DECIDED, FLUX, FORGE, GIT, News
from bot.sandbox.stage import SandboxStage, Stage
from bot.sandbox.story import Scene

LABELS = {CAME_IN: "cyan", DECIDED: "magenta", GIT: "yellow", CLUSTER: "blue", FLUX: "blue", FORGE: "cyan"}
MOODS = {"good": "green", "bad": "red", "busy": "yellow", "idle": "dim", "": ""}
LABEL = 9
WIDEST = 120
LOG_TAIL = 25

OPENING = """\
Sluice stands between pull requests and Flux. This plays a story: people push and comment on a forge, signed webhooks \
arrive, Sluice decides, Flux rolls out, and Sluice says so on the commit and in one comment on the pull request. \
Forge, cluster and Flux are a sandbox on this machine; webhooks, server, worker and database are real."""


class Paper:
    """What is printed where."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows ? instead
        self._out = Console(highlight=False, emoji=False, markup=False)
        if self._out.width > WIDEST:
            self._out = Console(highlight=False, emoji=False, markup=False, width=WIDEST)
        self._label = ""

    def say(self, text: str = "", style: str = "") -> None:
        """A line or more."""
        self._label = ""
        self._out.print(text, style=style or None)

    def to_copy(self, text: str) -> None:
        """A line that people copy: never broken, however long."""
        self._label = ""
        self._out.print(text, soft_wrap=True)

    def opening(self, stage: SandboxStage) -> None:
        """What this is, and where everything listens."""
        self.say("Sluice: the demo", "bold")
        self.say(OPENING)
        self.say()
        forge, cluster = stage.town.forge.url, stage.town.cluster_url
        self.say(f"Sluice {stage.url} · forge {forge} · cluster {cluster}", "dim")
        self.say(f"Files and logs: {stage.folder} (removed at the end)", "dim")

    def step(self, number: int, count: int, title: str) -> None:
        """A step begins."""
        self.say()
        self.say(f"{number}/{count}  {title}", "bold")

    def news(self, news: News) -> None:
        """One thing that happened, under its label."""
        label = "" if news.where == self._label else news.where
        self._line(label, news.text, MOODS[news.mood], LABELS[news.where])
        self._label = news.where

    def success(self, text: str, seconds: float) -> None:
        """A step is as it should be."""
        self._label = ""
        self._line("✓", f"{text} ({seconds:.1f} s)", "bold green", "bold green")

    def failure(self, title: str, evidence: str, scene: Scene) -> None:
        """A step is not as it should be: what was expected and found, and what Sluice logged last."""
        self.say()
        self.say(f"✗ Not as it should be: {title}", "bold red")
        self.say(evidence, "red")
        log = getattr(scene.stage, "log", None)
        if log is not None and log.exists():
            self.say(f"\nThe end of Sluice's log ({log}):", "bold")
            for line in log.read_text(errors="replace").splitlines()[-LOG_TAIL:]:
                self.say(line, "dim")

    def conversation(self, stage: Stage, repository: str, number: int) -> None:
        """The pull request as people see it now."""
        self.say()
        self.say(f"Pull request #{number} as it is now on the forge", "bold")
        for remark in stage.comments(repository, number):
            visible = "\n".join(line for line in remark.text.splitlines() if not line.startswith("<!--"))
            self.say()
            self.say(f"{remark.author} wrote:", "cyan")
            self._out.print(Padding(Markdown(visible), (0, 0, 0, 2)))

    def ending(self, steps: int, seconds: float) -> None:
        """All is well."""
        self.say()
        self.say(f"All {steps} steps are as they should be, in {seconds:.1f} s.", "bold green")

    def _line(self, label: str, text: str, style: str, label_style: str) -> None:
        """A label, and the text beside it, wrapped there."""
        indent = " " * (LABEL + 1)
        lines = textwrap.wrap(text, self._out.width - LABEL - 1, break_on_hyphens=False) or [""]
        written = Text().append(label.rjust(LABEL), style=label_style).append(" ")
        written.append(f"\n{indent}".join(lines), style=style or None)
        self._out.print(written, no_wrap=True, overflow="fold", crop=False)
