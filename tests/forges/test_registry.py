"""How forges are declared and found."""

import sys
from pathlib import Path

import pytest

from bot import registry
from bot.core.errors import ConfigError
from bot.forges.gitea import Gitea
from bot.forges.github import GitHub


def test_the_forges_are_found() -> None:
    assert registry.forges()["github"] is GitHub
    assert registry.forges()["gitea"] is Gitea


def test_a_name_claimed_twice_names_both_modules() -> None:
    before = registry.forges()
    with pytest.raises(ConfigError, match=r"'github': bot\.forges\.github and tests\.forges\.test_registry"):

        @registry.forge("github")
        class Other:
            pass

    assert registry.forges() == before


def test_one_file_is_one_forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_forges", dict(registry.forges()))
    monkeypatch.setattr(registry, "PLUGINS", (*registry.PLUGINS, "more_forges"))
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "more_forges"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "paper.py").write_text("from bot.registry import forge\n\n\n@forge('paper')\nclass Paper:\n    pass\n")
    registry.discover.cache_clear()
    assert registry.forges()["paper"].name == "paper"
    for name in [name for name in sys.modules if name.startswith("more_forges")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (None, "https://api.github.com"),
        ("https://github.com/", "https://api.github.com"),
        ("https://ghe.example.test/api/v3/", "https://ghe.example.test/api/v3"),
    ],
)
def test_githubs_address(url: str | None, base: str) -> None:
    assert repr(GitHub(url, "secret")) == f"GitHub('{base}')"


@pytest.mark.parametrize("url", ["https://git.test", "https://git.test/", "https://git.test/api/v1"])
def test_giteas_address(url: str) -> None:
    assert repr(Gitea(url, "secret")) == "Gitea('https://git.test/api/v1')"


def test_gitea_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="SLUICE_GITEA_URL"):
        Gitea()
