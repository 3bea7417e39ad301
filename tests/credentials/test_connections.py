"""Connected accounts: the way there and back, refreshing, and being asked again."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import sqlalchemy as sa
from litestar import Litestar

from bot.connections import REFRESH_LEASE
from bot.core.errors import TemporaryError, UserError
from bot.core.sealing import Keyring
from bot.doctor import credential_findings
from bot.forges.oauth import WHOLE
from bot.store import leases
from bot.web import problems
from bot.web.connections import router
from models import GitPlatformConnection, Lease, UnifiedEvent, User
from tests.credentials.conftest import KEY, PUBLIC, Bench

pytestmark = pytest.mark.thorough

START, CALLBACK = "/connections/github/start", "/connections/github/callback"


def browser(bench: Bench) -> httpx2.AsyncClient:
    """A person's browser, on Sluice."""
    app = Litestar(
        [router(bench.process().connections)],
        exception_handlers=problems.HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=PUBLIC)


@pytest.fixture
async def person(connectable: Bench) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser(connectable) as found:
        yield found


async def connect(bench: Bench, person: httpx2.AsyncClient, by: str = "alice") -> httpx2.Response:
    """Go there, say yes, come back."""
    there = await person.get(START)
    assert there.status_code == 303
    back = bench.forge.authorize(there.headers["location"], by)
    return await person.get(back.removeprefix(PUBLIC))


async def connection(bench: Bench) -> GitPlatformConnection:
    async with bench.database.read() as session:
        return (await session.execute(sa.select(GitPlatformConnection))).scalar_one()


@pytest.mark.long
async def test_an_account_is_connected(connectable: Bench, person: httpx2.AsyncClient) -> None:
    """Both tokens are sealed, the person is known, and the answer shows neither token nor code."""
    answer = await connect(connectable, person)
    assert (answer.status_code, "<b>alice</b> is connected" in answer.text) == (200, True)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    row = await connection(connectable)
    assert (row.username, row.status, row.provider, row.server_type) == ("alice", "active", "github", "self-hosted")
    assert row.refresh_token_sealed is not None
    place = {"table": "git_platform_connections", "row": row.id}
    token = Keyring([KEY]).open(row.access_token_sealed or "", column="access_token_sealed", **place)
    assert connectable.forge._state.tokens[token].login == "alice"
    async with connectable.database.read() as session:
        user = await session.get_one(User, row.user_id)
        told = (await session.execute(sa.select(UnifiedEvent))).scalar_one()
    assert (user.username, user.provider) == ("alice", "github")
    assert (told.action, told.user_id, told.ip) == ("connection.connected", user.id, "127.0.0.1")
    assert (told.user_agent or "").startswith("python-httpx")


async def test_sluices_own_account_is_nobodys(connectable: Bench, person: httpx2.AsyncClient) -> None:
    await connect(connectable, person, by="sluice-bot")
    assert (await connection(connectable)).user_id is None


async def test_the_way_there_is_bound(connectable: Bench, person: httpx2.AsyncClient) -> None:
    """PKCE by S256, a state of its own each time, and a cookie that no script and no other site gets."""
    there = [await person.get(START) for _ in range(2)]
    asked = [parse_qs(urlsplit(each.headers["location"]).query) for each in there]
    assert asked[0]["state"] != asked[1]["state"]
    assert (asked[0]["code_challenge_method"], asked[0]["response_type"]) == (["S256"], ["code"])
    cookie = there[0].headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "secure", "samesite=lax", "path=/connections/github"))


async def test_a_state_works_once_and_in_its_browser_only(connectable: Bench, person: httpx2.AsyncClient) -> None:
    there = await person.get(START)
    back = connectable.forge.authorize(there.headers["location"], "alice").removeprefix(PUBLIC)
    async with browser(connectable) as stranger:  # somebody else's link: no cookie
        refused = [await stranger.get(back)]
        await stranger.get(START)  # or the cookie of another state
        refused.append(await stranger.get(back))
    cookie = person.cookies["sluice-connecting"]
    assert (await person.get(back)).status_code == 200
    person.cookies.set("sluice-connecting", cookie, domain="sluice.example", path="/connections/github")
    refused.append(await person.get(back))
    assert [(each.status_code, each.json()["code"]) for each in refused] == [(400, "oauth_state_invalid")] * 3


async def test_a_state_grows_old_and_is_forgotten(connectable: Bench, person: httpx2.AsyncClient) -> None:
    await connect(connectable, person)
    there = await person.get(START)
    back = connectable.forge.authorize(there.headers["location"], "alice").removeprefix(PUBLIC)
    connectable.passes(minutes=11)
    assert (await person.get(back)).json()["code"] == "oauth_state_invalid"
    connectable.passes(minutes=30)
    await connect(connectable, person)
    async with connectable.database.read() as session:
        assert len((await session.execute(sa.select(Lease))).scalars().all()) == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [("error=access_denied", "oauth_refused"), ("", "oauth_refused"), ("code=planted-code", "oauth_refused")],
)
async def test_what_the_forge_refuses(connectable: Bench, person: httpx2.AsyncClient, query: str, code: str) -> None:
    there = await person.get(START)
    state = parse_qs(urlsplit(there.headers["location"]).query)["state"][0]
    answer = await person.get(f"{CALLBACK}?state={state}&{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert "planted-code" not in answer.text
    assert "client-secret-1" not in answer.text


async def test_without_an_application_there_is_no_way(bench: Bench) -> None:
    process = bench.process()
    process.connections.providers.clear()  # type: ignore[attr-defined]
    app = Litestar([router(process.connections)], exception_handlers=problems.HANDLERS, openapi_config=None)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=PUBLIC) as person:
        answers = [await person.get(path) for path in (START, CALLBACK, "/connections/gitlab/start")]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(404, "oauth_not_configured")] * 3


# Refreshing.


@pytest.mark.long
async def test_a_token_is_refreshed_before_its_end_and_once(connectable: Bench, person: httpx2.AsyncClient) -> None:
    """Whoever asks at once, in one process or several: each refresh token is spent once."""
    await connect(connectable, person)
    id = (await connection(connectable)).id
    processes = [connectable.process().connections for _ in range(4)]
    first = await processes[0].access_token(id)
    client = connectable.forge.access.clients["client-1"]
    for _ in range(3):
        connectable.passes(hours=8)
        asked = [each.access_token(id) for each in processes for _ in range(5)]
        given = await asyncio.gather(*asked, return_exceptions=True)
        tokens = {each for each in given if isinstance(each, str)}
        assert len(tokens) == 1  # the others were told to come again
        assert all(isinstance(each, str | TemporaryError) for each in given)
        assert connectable.forge._state.holder(tokens.pop()) is not None
        assert client.spent == []
    assert await processes[0].access_token(id) != first


async def test_a_worker_that_waits_finds_what_the_other_one_got(connectable: Bench, person: httpx2.AsyncClient) -> None:
    """It looks again under its lease, and spends nothing."""
    await connect(connectable, person)
    row = await connection(connectable)
    connectable.passes(hours=8)
    one, other = (connectable.process().connections for _ in range(2))
    stale = await one._row(row.id)
    token = await other.access_token(row.id)
    assert await one._refresh(stale) == token
    assert connectable.forge.access.clients["client-1"].spent == []


async def test_a_lease_outlives_the_longest_refresh() -> None:
    assert REFRESH_LEASE.total_seconds() > 2 * WHOLE
    assert leases.LEASE < REFRESH_LEASE


async def test_a_connection_that_ended_is_asked_for_again(connectable: Bench, person: httpx2.AsyncClient) -> None:
    """The refresh token is no good any more: told once, with where to go; connecting again mends it."""
    await connect(connectable, person)
    row = await connection(connectable)
    client = connectable.forge.access.clients["client-1"]
    client.refresh_tokens.clear()
    connectable.passes(hours=8)
    process = connectable.process().connections
    for _ in range(2):
        with pytest.raises(UserError, match=f"connect it again at {PUBLIC}{START}") as caught:
            await process.access_token(row.id)
        assert caught.value.code == "connection_expired"
    assert len(client.spent) == 1
    now = await connection(connectable)
    assert now.status == "expired"
    assert client.spent[0] not in str(now.details)
    assert await connectable.events() == ["connection.connected", "connection.expired"]
    assert [each.what for each in await credential_findings(connectable.database)] == ["connection of alice to github"]
    await connect(connectable, person)
    assert await process.access_token(row.id)
    assert await credential_findings(connectable.database) == []


async def test_an_outage_spends_no_connection(connectable: Bench, person: httpx2.AsyncClient) -> None:
    await connect(connectable, person)
    row = await connection(connectable)
    connectable.passes(hours=8)
    connectable.forge.fail_next("POST", "/login/oauth/access_token", status=503)
    process = connectable.process().connections
    with pytest.raises(TemporaryError):
        await process.access_token(row.id)
    assert (await connection(connectable)).status == "active"
    assert await process.access_token(row.id)


# A project by a connection.


async def test_a_project_fetches_by_a_key_that_the_person_registered(
    connectable: Bench, person: httpx2.AsyncClient
) -> None:
    """The bot is no admin there; alice is. Her token registers the key and never enters the cluster."""
    connectable.forge.set_permission("acme/web", "sluice-bot", "write")
    with pytest.raises(UserError, match=f"open {PUBLIC}{START}") as caught:
        await connectable.ensure("oauth")
    assert caught.value.code == "connection_missing"
    await connect(connectable, person)
    process = connectable.process()
    access = await connectable.ensure("oauth", process)
    assert access is not None
    assert connectable.fetches(access)
    token = await process.connections.access_token((await connection(connectable)).id)
    assert not [value for value in access.secret.values() if token in value]
    [effect] = [each for each in connectable.forge.effects if each.kind == "key.created"]
    assert (effect.actor, effect.about["read_only"]) == ("alice", True)

    connectable.forge.access.clients["client-1"].refresh_tokens.clear()
    connectable.passes(hours=25)
    await connectable.process().renew_due()
    auth = await connectable.auth()
    assert (auth.validation_status, START in auth.validation_message) == ("invalid", True)
    assert connectable.fetches(access)  # the key works on
