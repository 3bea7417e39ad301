"""Plug-ins: one file each, found by itself; a name claimed twice stops the start."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bot import registry
from bot.context import Context
from bot.core.errors import ConfigError, UserError
from bot.core.results import Result, done
from bot.core.roles import Role

ROOT = Path(__file__).parents[2]
COMMAND = '''"""Wave."""

import msgspec

from bot.context import Context
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command


class Args(msgspec.Struct, frozen=True):
    """Whom."""

    whom: str


@command("{name}", needs=Role.VIEWER)
async def wave(ctx: Context, args: Args) -> Result:
    """Wave at somebody."""
    return done("waved")
'''


class Args(msgspec.Struct, frozen=True):
    """Nothing."""


async def another(ctx: Context, args: Args) -> Result:
    """Another command of that name."""
    return done("")


@pytest.fixture
def commands_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of commands, as one more file in `handlers/commands` would be."""
    package = importlib.import_module("handlers.commands")
    registry.discover()  # a module that was imported once does not register again
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.discover()  # what is imported already would not register again
    before = dict(registry._commands)
    registry.discover.cache_clear()
    yield tmp_path
    registry._commands.clear()
    registry._commands.update(before)
    for name in [name for name in sys.modules if name.startswith("handlers.commands.extra_")]:
        del sys.modules[name]
    registry.discover.cache_clear()


def test_a_new_command_is_one_new_file(commands_folder: Path) -> None:
    """It is found, and its help and usage come from it."""
    (commands_folder / "extra_wave.py").write_text(COMMAND.format(name="wave"))

    found = registry.commands()["wave"]

    assert (found.summary, found.usage, found.needs) == ("Wave at somebody.", "/wave <whom>", Role.VIEWER)
    assert "`/wave <whom>` — Wave at somebody. (needs: viewer)" in registry.help_text()


def test_a_file_that_claims_a_known_name(commands_folder: Path) -> None:
    """The start ends, and both files are named."""
    (commands_folder / "extra_deploy.py").write_text(COMMAND.format(name="deploy"))

    with pytest.raises(ConfigError) as caught:
        registry.commands()

    assert "handlers.commands.deploy" in str(caught.value)
    assert "handlers.commands.extra_deploy" in str(caught.value)


def test_a_name_claimed_twice() -> None:
    """Commands, work, events and forges: each name once."""
    registry.discover()
    before = dict(registry._commands)

    with pytest.raises(ConfigError, match=r"claim the command 'deploy': handlers\.commands\.deploy and tests\.unit"):
        registry.command("deploy", needs=Role.VIEWER)(another)

    assert dict(registry._commands) == before


def test_everything_is_found() -> None:
    """The commands, forges and kinds of work of this version."""
    assert set(registry.commands()) >= {
        "deploy",
        "disable",
        "enable",
        "help",
        "lock",
        "promote",
        "rollback",
        "sync",
        "unlock",
    }
    assert set(registry.forges()) == {"gitea", "github"}
    assert set(registry.works()) >= {"push", "follow", "closed", "unpin", "unclear"}


def test_help_for_what_does_not_exist() -> None:
    """An unknown command is answered with those that there are."""
    with pytest.raises(UserError, match="`/deploy`"):
        registry.help_text("nonsense")


def test_the_command_line_lists_them() -> None:
    """`sluice commands` shows every command with its usage."""
    answer = subprocess.run(
        [sys.executable, "-m", "bot", "commands"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    for name in registry.commands():
        assert f"/{name}" in answer.stdout
