"""`sluice credentials`: a token from a file or a pipe, tried, sealed, and never shown."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot import granting
from bot.__main__ import main
from bot.core.errors import ConfigError, UserError
from bot.granting import Wish, listed, set_token
from bot.settings import ForgeSettings, Settings
from tests.credentials.conftest import KEY, URL, Bench

TOKEN = "planted-token-of-the-project"


@pytest.fixture
def settings(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a Sluice whose forge is the bench's."""
    monkeypatch.setattr(granting.wiring, "make_forges", lambda settings: {"github": bench.adapter(bench.token)})
    monkeypatch.setattr(granting.wiring, "_as_token", lambda settings: lambda name, token: bench.adapter(token))
    url = str(bench.database._writer.url)
    return Settings(database_url=url, secret_keys=(KEY,), forges={"github": ForgeSettings(url=URL)})


def wish(**changes: str | None) -> Wish:
    given: dict[str, str | None] = {"repository": "Acme/Web", "project": None, "forge": None, "username": None}
    return Wish(**{**given, "kind": "project", "actor": "root", **changes})  # type: ignore[arg-type]


async def test_a_token_is_set_and_listed(bench: Bench, settings: Settings) -> None:
    assert await listed(settings) == [("acme/web", "web", "none", "", "", "")]
    told = await set_token(settings, wish(), bench.forge.token("alice"))
    assert told.startswith("acme/web (web): the token works")
    [(_, _, kind, stands, _, _)] = await listed(settings)
    assert (kind, stands) == ("token", "pending")
    bench.now = datetime.now(UTC)
    await bench.process().renew_due()  # the running Sluice, within seconds
    assert bench.secret == {"username": "git", "password": bench.forge.token("alice")}
    assert [row[3] for row in await listed(settings)] == ["valid"]


@pytest.mark.parametrize(
    ("changes", "token", "code"),
    [
        ({}, TOKEN, "credentials_invalid"),
        ({"repository": "acme/none"}, TOKEN, "not_enabled"),
        ({"project": "api"}, TOKEN, "not_enabled"),
        ({"forge": "gitea"}, TOKEN, "not_enabled"),
    ],
)
async def test_what_is_refused(
    bench: Bench, settings: Settings, changes: dict[str, str], token: str, code: str
) -> None:
    with pytest.raises(UserError) as caught:
        await set_token(settings, wish(**changes), token)
    assert caught.value.code == code
    assert TOKEN not in str(caught.value)
    assert await bench.held() is None


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "smörgås"])
async def test_what_is_no_token(bench: Bench, settings: Settings, token: str) -> None:
    with pytest.raises(ConfigError, match="this is no token"):
        await set_token(settings, wish(), token)


@pytest.mark.parametrize("source", ["file", "pipe"])
def test_from_the_command_line(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token is read from where it is told, without its line end; it is in no output."""
    seen: list[tuple[Wish, str]] = []

    async def keep(settings: Settings, wish: Wish, token: str) -> str:
        seen.append((wish, token))
        return "done"

    monkeypatch.setattr(granting, "set_token", keep)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    monkeypatch.setenv("SLUICE_DATABASE_URL", f"sqlite:///{tmp_path}/x.db")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    given = str(tmp_path / "token") if source == "file" else "-"
    with pytest.raises(SystemExit) as ended:
        main(["credentials", "set", "acme/web", "--token-file", given, "--kind", "group"])
    assert ended.value.code in (0, None)
    assert [(each.repository, each.kind, token) for each, token in seen] == [("acme/web", "group", TOKEN)]
    assert TOKEN not in capsys.readouterr().out
