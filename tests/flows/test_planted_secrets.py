"""Every secret that there is goes through Sluice once, and everything that Sluice shows or keeps is searched for it."""

import base64
import json
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bot import granting
from bot.core.errors import BotError, UserError
from bot.doctor import examine
from models import GitPlatformConnection, ProjectGitAuth
from models.base import Base
from tests.world import PAST, Place, World, says

pytestmark = pytest.mark.thorough

PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PUBLIC_URL = "http://127.0.0.1"
PLANTED = {
    "SLUICE_API_TOKEN": "planted-token-with-which-programs-read",
    "SLUICE_GITHUB_OAUTH_CLIENT_SECRET": "planted-oauth-secret-of-github",
    "SLUICE_GITEA_TOKEN": "planted-token-of-the-bot-on-gitea",
    "SLUICE_GITEA_GIT_TOKEN": "planted-token-of-flux-on-gitea",
    "SLUICE_GITEA_WEBHOOK_SECRET": "planted-webhook-secret-of-gitea",
    "SLUICE_GITEA_OAUTH_CLIENT_SECRET": "planted-oauth-secret-of-gitea",
}
PATIENCE = 120.0  # on a busy machine
IN_A_BODY = "planted-token-in-the-body-of-a-webhook"


@pytest.fixture
def place() -> Iterator[Place]:
    """A place of its own: all settings that are secret are planted."""
    found = Place(
        **PLANTED,
        SLUICE_PUBLIC_URL=PUBLIC_URL,
        SLUICE_GITHUB_APP_ID="4242",
        SLUICE_GITHUB_APP_PRIVATE_KEY=PEM,
        SLUICE_GITHUB_OAUTH_CLIENT_ID="client-1",
        SLUICE_GITEA_URL="http://127.0.0.1:9",
        SLUICE_GITEA_OAUTH_CLIENT_ID="client-2",
    )
    found.start()
    yield found
    found.stop()


class Shown:
    """All that somebody could get to see."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, where: str, *things: object) -> None:
        self.texts[where] = "\n".join([self.texts.get(where, ""), *(text for each in things for text in _texts(each))])

    def leaks(self, secrets: dict[str, str]) -> list[tuple[str, str]]:
        """Which secret is to be seen where."""
        return [
            (name, where) for name, secret in secrets.items() for where, text in self.texts.items() if secret in text
        ]


def _texts(thing: object) -> list[str]:
    if isinstance(thing, str):
        return [thing]
    if isinstance(thing, httpx2.Response):
        return [thing.text, str(thing.headers)]
    if isinstance(thing, BaseException):
        return [repr(thing), str(thing), "".join(traceback.format_exception(thing))]
    return [repr(thing), str(thing)]


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_secret_is_to_be_seen(place: Place) -> None:
    shown, forge = Shown(), place.town.forge
    forge.add_app("4242", PUBLIC_PEM, {"contents": "write"})
    forge.add_oauth_client(
        "client-1", PLANTED["SLUICE_GITHUB_OAUTH_CLIENT_SECRET"], f"{PUBLIC_URL}/connections/github/callback"
    )
    worlds = {kind: World(place, private=True) for kind in ("token", "deploy_key", "app", "oauth")}
    forge.install_app("4242", worlds["app"].repository)

    try:
        await _everything(place, worlds, shown)
    finally:
        for world in worlds.values():
            await world.database.close()


async def _everything(place: Place, worlds: dict[str, World], shown: Shown) -> None:
    await _own_token(place, worlds["token"], shown)
    codes = await _connected(place, worlds["oauth"], shown)
    for kind, world in worlds.items():
        await _story(world, kind)
    await _renewed(place, worlds["app"], shown)
    await _refreshed(place, worlds["oauth"], shown)
    _asked(place, worlds["token"], shown)
    await _forge_shows_tokens(place, worlds["token"])
    await _everything_else(place, worlds, shown)
    secrets = _secrets(place) | codes
    assert len(secrets) >= 30
    in_the_clusters = json.dumps([_opened(each) for each in place.town.cluster.list("Secret")])
    for name in ("token of alice", "private key of deploy_key", "token of app"):
        assert secrets[name] in in_the_clusters, name  # the search is for what is really there
    assert shown.leaks(secrets) == []
    assert Shown.leaks(_control(secrets), secrets) == [(name, "control") for name in secrets]


def _control(secrets: dict[str, str]) -> Shown:
    control = Shown()
    control.add("control", *secrets.values())
    return control


async def _story(world: World, kind: str) -> None:
    """Enable, push, deploy: everything that reads and writes with the credentials."""
    world.may_log_errors = True
    world.push({".sluice.yaml": f"version: 1\ngit: {kind}\nenvironments: {{development: {{}}}}\n"})
    world.open_pull_request({"enable.txt": "please"}, "alice", branch="enable")
    world.write("/enable", by="alice")
    await world.settled(PATIENCE)
    assert (await world.results("enable"))[-1] == ("done", None), world.comment_text()
    sha = world.push(says(f"by {kind}"))
    await world.settled(PATIENCE)
    assert world.states(sha)[-1] == "success", world.statuses(sha)


async def _own_token(place: Place, world: World, shown: Shown) -> None:
    """The project's own token, once refused by a forge that repeats it, then taken."""
    world.push({".sluice.yaml": "version: 1\nenvironments: {development: {}}\n"})
    world.open_pull_request({"enable.txt": "please"}, "alice", branch="early")
    world.write("/enable", by="alice")
    await world.settled(PATIENCE)
    token = world.forge.token("alice")
    wish = granting.Wish(repository=world.repository, project=None, forge=None, kind="pat", username=None, actor="root")
    for status in (401, 403, 503):
        world.forge.fail_next("GET", "/repos/*", status=status, times=4, message=f"Bad credentials: {token}")
        with pytest.raises(BotError) as caught:
            await granting.set_token(place.settings, wish, token)
        shown.add("errors", caught.value)
        world.forge.clear_faults()
    shown.add("command line", await granting.set_token(place.settings, wish, token))
    shown.add("command line", *(" ".join(row) for row in await granting.listed(place.settings)))


async def _connected(place: Place, world: World, shown: Shown) -> dict[str, str]:
    """Connect alice's account in a browser; the codes and cookies that were on the way."""
    async with httpx2.AsyncClient(base_url=place.url, trust_env=False) as browser:
        there = await browser.get("/connections/github/start")
        back = httpx2.URL(world.forge.authorize(there.headers["location"], "alice"))
        refused = await browser.get("/connections/github/callback", params={"state": "x", "code": back.params["code"]})
        answer = await browser.get("/connections/github/callback", params=dict(back.params))
        again = await browser.get("/connections/github/callback", params=dict(back.params))
    assert [each.status_code for each in (refused, answer, again)] == [400, 200, 400]
    shown.add("answers", refused, answer, again)
    return {"authorization code": back.params["code"]}


async def _refreshed(place: Place, world: World, shown: Shown) -> None:
    """The connection is refreshed, and then refused by a forge that repeats the refresh token."""
    credentials = place.backend.credentials
    [row] = await world.rows(GitPlatformConnection)

    async def ask() -> Any:
        try:
            return await credentials.connections.access_token(row.id)
        except UserError as error:
            return error

    for refused in (False, True):
        await world.execute(sa.update(GitPlatformConnection).values(expires_at=row.connected_at))
        if refused:
            world.forge.access.clients["client-1"].refresh_tokens.clear()
        answer = await world.on_the_workers_loop(ask)
        assert refused is isinstance(answer, UserError)
        if refused:
            shown.add("errors", answer)


async def _renewed(place: Place, world: World, shown: Shown) -> None:
    """All Secrets are written again, while the cluster fails and when it works."""
    for code, stands in ((403, "invalid"), (500, "expiring")):
        await world.execute(sa.update(ProjectGitAuth).values(renew_at=None))
        await world.execute(sa.update(ProjectGitAuth).where(ProjectGitAuth.auth_type == "app").values(renew_at=PAST))
        world.cluster.fail_next(20, code, match="/secrets/")
        await world.on_the_workers_loop(place.backend.credentials.renew_due)
        world.cluster._troubles.clear()
        [row] = await world.rows(ProjectGitAuth, ProjectGitAuth.auth_type == "app")
        assert row.validation_status == stands, row.validation_message
        shown.add("errors", row.validation_message or "")
    await world.execute(sa.update(ProjectGitAuth).values(renew_at=PAST))
    await world.on_the_workers_loop(place.backend.credentials.renew_due)


def _asked(place: Place, world: World, shown: Shown) -> None:
    """Requests that are refused, and a delivery whose body holds a token of somebody's."""
    body = json.dumps({"zen": "x", "token": IN_A_BODY}).encode()
    shown.add("answers", world.send("ping", body), world.send("push", body), world.send("push", b"{" + body))
    shown.add("answers", world.send("push", body, secret=b"wrong"), world.send("", body))
    for path in (f"/nowhere/{IN_A_BODY}", f"/connections/gitlab/start?x={IN_A_BODY}", "/schema", "/readyz"):
        shown.add("answers", place.http.get(place.url + path, headers={"authorization": f"Bearer {IN_A_BODY}"}))


async def _forge_shows_tokens(place: Place, world: World) -> None:
    """The forge repeats the bot's token in what it refuses while a command runs."""
    for status in (401, 500):
        message = f"token {place.town.token} is not welcome"
        world.forge.fail_next("POST", "*/statuses/*", status=status, times=2, message=message)
        world.forge.fail_next("GET", "*/git/trees/*", status=status, times=1, message=message)
        world.push(says(f"status {status}"))
        await world.settled(PATIENCE)
        world.forge.clear_faults()


async def _everything_else(place: Place, worlds: dict[str, World], shown: Shown) -> None:
    backend, settings = place.backend, place.settings
    shown.add(
        "reprs", settings, *settings.forges.values(), backend, *backend.forges.values(), *backend.clusters.values()
    )
    shown.add("reprs", backend.credentials, backend.credentials.keys, backend.credentials.connections)  # type: ignore[attr-defined]
    for world in worlds.values():
        for table in Base.__subclasses__():
            rows = await world.rows(table)
            shown.add("reprs", *rows)
        forge = world.forge
        for number in range(1, 5):
            try:
                shown.add("comments", *(comment.body for comment in forge.comments(world.repository, number)))
            except Exception:
                break
        shown.add("effects", *(json.dumps(dict(each.about), default=str) for each in world.effects()))
        for sha in forge.store.history(world.repository, world.head()):
            shown.add("statuses", *(f"{each.description} {each.target_url}" for each in world.raw_statuses(sha)))
    shown.add("doctor", *(f"{each.what} {each.found} {each.advice}" for each in await examine(settings)))
    shown.add("database", *_dump(place))
    shown.add("logs", place.logged.getvalue())
    assert len(shown.texts["logs"]) > 1000
    assert "sluice/development" in shown.texts["effects"]


def _dump(place: Place) -> Iterator[str]:
    """The whole database; but for the body that held a token, which is kept as it came."""
    with closing(sqlite3.connect(place.folder / "sluice.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                text = " ".join(each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in row)
                yield text.replace(IN_A_BODY, "") if table == "deliveries" else text


def _opened(secret: dict[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


def _secrets(place: Place) -> dict[str, str]:
    """Every secret value that exists now, by name. Of a key in several lines, one in the middle."""
    forge, state = place.town.forge, place.town.forge._state
    found = {**PLANTED, "in a body": IN_A_BODY, "App key": PEM.splitlines()[5], "master key": place.town.secret_key}
    found |= {"webhook secret": place.town.webhook_secret, "bot": place.town.token}
    people = [(token, user.login) for token, user in state.tokens.items() if token not in state.expiries]
    found |= {f"token of {login}": token for token, login in people}
    found |= {f"access token {number}": token for number, token in enumerate(state.expiries)}
    client = forge.access.clients["client-1"]
    every = [*client.refresh_tokens, *client.spent]
    found |= {f"refresh token {number}": token for number, token in enumerate(every)}
    hooks = [hook for repository in state.repositories.values() for hook in repository.hooks.values()]
    found |= {f"hook secret {hook.id}": hook.secret for hook in hooks}
    for secret in place.town.cluster.list("Secret"):
        for name, value in _opened(secret).items():
            if name == "password":
                found["token of app" if value.startswith("ghs_") else f"password of {value[-6:]}"] = value
            elif name == "identity":
                kind = f"private key {secret['metadata']['namespace']}"
                found[kind] = found["private key of deploy_key"] = value.splitlines()[2]
    return found
