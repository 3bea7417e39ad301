"""Renewal: before the end, once, again after a failure, and told to those who have to know."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.access import GitAccess, renewal, retry
from bot.core.errors import TemporaryError, UserError
from bot.doctor import credential_findings
from bot.settings import ForgeSettings
from tests.credentials.conftest import URL, Bench

pytestmark = pytest.mark.thorough


@pytest.mark.long
async def test_the_secret_is_renewed_at_half_life(installed: Bench) -> None:
    """For a day of hourly tokens: the Secret in the cluster always works, and no token is asked for early."""
    await installed.ensure()
    process = installed.process()
    installed.passes(minutes=31)
    for _ in range(24 * 6):
        await process.renew_due()
        password = installed.secret["password"]
        assert installed.forge._state.holder(password) is not None
        installed.passes(minutes=10)
    assert 44 <= len(installed.forge.access.issued) <= 50
    assert {(grant.repositories, grant.permissions["contents"]) for grant in installed.forge.access.issued} == {
        (("acme/web",), "read")
    }
    assert await installed.events() == []


async def test_nothing_is_done_before_it_is_due(installed: Bench) -> None:
    await installed.ensure()
    process = installed.process()
    installed.passes(minutes=29)
    await process.renew_due()
    assert (installed.secrets.written, len(installed.forge.access.issued)) == (0, 1)


async def test_one_of_several_processes_renews(installed: Bench) -> None:
    await installed.ensure()
    installed.passes(minutes=31)
    await asyncio.gather(*(installed.process().renew_due() for _ in range(5)))
    assert installed.secrets.written == 1
    assert len(installed.forge.access.issued) == 2


@pytest.mark.parametrize("where", ["the forge", "the cluster"])
async def test_a_failure_is_told_and_tried_again_before_the_end(installed: Bench, where: str) -> None:
    """An event, once for the same trouble; a finding of doctor; the old token stays, and the next try puts it right."""
    await installed.ensure()
    process = installed.process()
    if where == "the forge":
        installed.forge.fail_next("POST", "/app/*", times=3, status=503)
    else:
        installed.secrets.failure = TemporaryError("the cluster is away")
    tries = 0
    installed.passes(minutes=31)
    while tries < 3:
        await process.renew_due()
        tries += 1
        auth = await installed.auth()
        assert auth.validation_status == "expiring"
        assert auth.renew_at - installed.now <= timedelta(minutes=7.5)
        installed.now = auth.renew_at
    assert await installed.events() == ["credentials.failed"]
    [finding] = await credential_findings(installed.database)
    assert (finding.good, "acme/web" in finding.what) == (False, True)

    installed.secrets.failure = None
    await process.renew_due()
    auth = await installed.auth()
    assert auth.expires_at - installed.now > timedelta(minutes=30)
    assert (auth.validation_status, auth.validation_message) == ("valid", None)
    assert installed.forge._state.holder(installed.secret["password"]) is not None
    assert await installed.events() == ["credentials.failed", "credentials.recovered"]
    assert await credential_findings(installed.database) == []


async def test_a_refusal_is_told_as_what_it_is(installed: Bench) -> None:
    """The App was taken off the repository: no passing trouble."""
    await installed.ensure()
    installed.forge._state.apps["4242"].installations.clear()
    installed.passes(minutes=31)
    await installed.process().renew_due()
    auth = await installed.auth()
    assert (auth.validation_status, "is not installed on acme/web" in auth.validation_message) == ("invalid", True)
    assert auth.renew_at > installed.now


async def test_whoever_dies_in_the_middle_is_followed(installed: Bench) -> None:
    """A renewal that was taken and never ended comes up again before the token ends."""
    await installed.ensure()
    installed.passes(minutes=31)

    class Died(BaseException):
        pass

    process = installed.process()

    async def die(*_: object, **__: object) -> None:
        raise Died

    installed.secrets.apply = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        await process.renew_due()
    del installed.secrets.apply
    auth = await installed.auth()
    assert installed.now < auth.renew_at < auth.expires_at
    installed.now = auth.renew_at
    await installed.process().renew_due()
    assert installed.secrets.written == 1


async def test_a_changed_operators_token_reaches_the_cluster(bench: Bench) -> None:
    """What does not end is tried once a day; the Secret is what the settings say then."""
    bench.settings = ForgeSettings(url=URL, git_token=bench.token)
    await bench.ensure()
    bench.settings = ForgeSettings(url=URL, git_token=bench.forge.token("alice"))
    bench.passes(hours=25)
    await bench.process().renew_due()
    assert bench.secret["password"] == bench.forge.token("alice")


async def test_an_outage_of_the_forge_is_no_trouble_of_a_token_without_end(bench: Bench) -> None:
    bench.settings = ForgeSettings(url=URL, git_token=bench.token)
    await bench.ensure()
    bench.passes(hours=25)
    bench.forge.fail_next("GET", "/repos/*", status=503)
    process = bench.process()
    await process.renew_due()
    assert (await bench.auth()).validation_status == "valid"
    bench.passes(minutes=11)
    await process.renew_due()
    assert (await bench.auth()).last_validated_at == bench.now
    assert await bench.events() == []


def test_times() -> None:
    """Half of what is left; a quarter after a failure, within bounds."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    hour = now + timedelta(hours=1)
    access = GitAccess(kind="app", url="", secret={}, said="", expires_at=hour, short_lived=True)
    assert renewal(access, now) == now + timedelta(minutes=30)
    assert retry(hour, now) == now + timedelta(minutes=10)
    assert retry(hour, now + timedelta(minutes=40)) == now + timedelta(minutes=45)
    assert retry(hour, now + timedelta(minutes=59)) == now + timedelta(minutes=59, seconds=30)
    assert retry(hour, hour + timedelta(days=1)) == hour + timedelta(days=1, seconds=30)
    assert retry(None, now) == now + timedelta(minutes=10)


async def test_errors_name_no_token(bench: Bench) -> None:
    """A forge that answers with our token in its words does not bring it into the row."""
    bench.settings = ForgeSettings(url=URL, git_token="planted-token-of-the-operator")
    bench.forge.fail_next("GET", "/repos/*", status=403, message="no rights: planted-token-of-the-operator")
    with pytest.raises(UserError) as caught:
        await bench.ensure()
    told = (caught.value.message, (await bench.auth()).validation_message, repr(bench.settings))
    assert not [text for text in told if "planted-token" in text]
