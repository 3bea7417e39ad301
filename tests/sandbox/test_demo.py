"""`sluice demo` as people start it: a process of its own, without colours, 80 columns wide."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bot import registry
from bot.sandbox.picture import Shot, draw
from bot.sandbox.stage import Remark, Said

pytestmark = pytest.mark.thorough

DEMO = [sys.executable, "-W", "error", "-m", "bot", "demo"]
BROKEN = """
import sys
from bot.sandbox import demo, story

files = story.start
story.start = lambda: files() | story.greeting("production", "goodbye")
sys.exit(demo.main(stay=False))
"""


def environ(folder: Path) -> dict[str, str]:
    """What the demo needs of its surroundings: next to nothing, and no Git."""
    return {
        "PATH": "/nowhere",
        "TMPDIR": str(folder),
        "COLUMNS": "80",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def play(command: list[str], folder: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environ(folder), cwd="/", input=typed, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run of the whole story, and of what is typed after it; nothing is left behind."""
    folder = tmp_path_factory.mktemp("demo")
    typed = (
        "show\nnonsense\npush main deploy/staging/greeting.yaml good day\nas mallory\npush main README.md hi\n"
        "as wendy\npush topic deploy/development/greeting.yaml tuesday\nopen topic A change\n"
        "comment 5 /deploy development\nobjects\nshow 5\nclose 5\nclose one\nquit\n"
    )
    done = play([*DEMO, "--stay"], folder, typed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
    return done


def test_it_plays_the_story(played: subprocess.CompletedProcess[str]) -> None:
    """Every step is shown, without colours, nothing wider than 80 columns."""
    story, _, _ = played.stdout.partition("The repository is")
    assert re.search(r"All 14 steps are as they should be, in [0-9.]+ s", story), story
    shown = (
        "comment on #2 by mallory: /deploy development → 202",
        "[not_permitted]",
        "Superseded by",
        "Ready=False ArtifactFailed: kustomization",
        "sluice applies Kustomization",
        "0 of 1 approvals are",
        "approved by olivia",
        "/rollback production by olivia",
        "sluice-bot wrote:",
    )
    assert [each for each in shown if each not in story] == []
    assert "\x1b" not in story
    assert max(map(len, story.splitlines())) <= 80


def test_what_is_typed_afterwards_is_done(played: subprocess.CompletedProcess[str]) -> None:
    """With --stay people push, open and comment; what a person may not do is refused like on a forge."""
    shown = (
        "#4 merged: Good news",
        "nonsense is nothing to be done here",
        "(text: good day)",
        "The forge refuses: Resource not accessible",
        "This is #5.",
        "{'text': 'tuesday'}",
        "sluice/development success: Live",
        "one is no number of a pull request",
        "export KUBECONFIG=",
    )
    assert [each for each in shown if each not in played.stdout] == []


def test_a_step_that_is_not_as_it_should_be_fails_it(tmp_path: Path) -> None:
    """It says which, with the evidence and the end of the log; exit code 1."""
    done = play([sys.executable, "-c", BROKEN], tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✗ Not as it should be: Set GitOps up with one comment" in done.stdout
    assert "expected: hello" in done.stdout
    assert "found:    'goodbye'" in done.stdout
    assert "The end of Sluice's log" in done.stdout
    assert "All 14 steps" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_interrupted_it_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of the story: no traceback, nothing left behind, exit code 130."""
    demo = [sys.executable, "-m", "bot", "demo"]  # what is interrupted anywhere may leave a file for the collector
    process = subprocess.Popen(
        demo,
        env=environ(tmp_path),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's `make test &` has Ctrl-C ignored, and so has all that it starts.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("2/14"):
            break
    os.kill(process.pid, number)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, rest
    assert "Stopped; everything is cleaned up." in rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_the_picture_is_drawn_from_what_was_said() -> None:
    """The README's picture is well-formed, shows comments and statuses, and disarms what it shows."""
    shot = Shot(
        number=7,
        title="A <b> & c",
        author="wendy",
        branch="topic",
        commit="1234567",
        remarks=[Remark("wendy", "/deploy development"), Remark("sluice-bot", "- ✓ `/deploy` by wendy: done &#60;")],
        statuses=[Said("pending", "Queued: 1234567"), Said("success", "Live: 1234567 in 1 s")],
    )
    drawn = "".join(ElementTree.fromstring(draw(shot)).itertext())
    assert "A <b> & c #7" in drawn
    assert "/deploy by wendy: done <" in drawn
    assert "pending — Queued: 1234567" in drawn


def test_the_readme_tells_of_every_command() -> None:
    """And of no other."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    told = set(re.findall(r"^\| `/([a-z]+)", readme, re.M))
    assert told == set(registry.commands())
