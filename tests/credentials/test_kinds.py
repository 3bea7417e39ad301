"""What Flux fetches with, of each kind: it works, it can read only this, and what is wrong is told."""

import asyncio
import uuid

import pytest
import sqlalchemy as sa

from bot.core.errors import TemporaryError, UserError
from bot.core.sealing import Keyring
from bot.settings import ForgeSettings
from models import ProjectGitAuthDeployKey, ProjectGitAuthToken
from tests.credentials.conftest import PEM, URL, Bench

pytestmark = pytest.mark.thorough


async def test_a_private_repository_without_anything_is_refused(bench: Bench) -> None:
    with pytest.raises(UserError, match="SLUICE_GITHUB_GIT_TOKEN") as caught:
        await bench.ensure()
    assert caught.value.code == "git_credentials_missing"
    assert await bench.held() is None


async def test_a_public_repository_needs_nothing(bench: Bench) -> None:
    bench.repository.private = False
    assert await bench.ensure() is None
    async with bench.database.read() as session:
        git = await bench.process().git(session, bench.repository, bench.project)
    assert (git.url, git.secret) == (bench.repository.clone_url, None)


async def test_the_operators_token_is_the_default(bench: Bench) -> None:
    bench.settings = ForgeSettings(url=URL, git_token=bench.token, git_username="flux")
    access = await bench.ensure()
    assert access is not None
    assert access.secret == {"username": "flux", "password": bench.token}
    assert bench.fetches(access)
    auth = await bench.auth()
    assert (auth.auth_type, auth.validation_status, auth.last_validated_at) == ("token", "valid", bench.now)
    held = await bench.held()
    assert held is not None
    assert held.token is None  # the operator's own is in no row


@pytest.mark.parametrize("token", ["wrong", "bob's"])
async def test_a_token_that_does_not_work_is_refused(bench: Bench, token: str) -> None:
    """One that the forge does not know, and one that does not see the repository."""
    given = bench.forge.token("bob") if token == "bob's" else "planted-wrong-token"
    bench.settings = ForgeSettings(url=URL, git_token=given)
    with pytest.raises(UserError, match="the token for Flux does not") as caught:
        await bench.ensure()
    assert caught.value.code == "credentials_invalid"
    assert given not in caught.value.message
    auth = await bench.auth()
    assert (auth.validation_status, auth.validation_message) == ("invalid", caught.value.message)
    assert await bench.events() == ["credentials.failed"]


async def test_a_project_has_a_token_of_its_own(bench: Bench) -> None:
    """It is tried before it is kept, is sealed, and comes before the operator's."""
    bench.settings = ForgeSettings(url=URL, git_token=bench.token)
    process, own = bench.process(), bench.forge.token("alice")
    with pytest.raises(UserError, match="does not work"):
        await process.set_token(bench.repository, bench.project, "nonsense", type="pat", username=None, actor="root")
    assert await bench.held() is None
    await process.set_token(bench.repository, bench.project, own, type="project", username="web", actor="root")

    access = await bench.ensure()
    assert access is not None
    assert access.secret == {"username": "web", "password": own}
    held = await bench.held()
    assert held is not None
    assert held.token is not None
    assert (held.token.token_type, held.auth.created_by) == ("project", "root")
    assert own not in held.token.token_sealed
    assert await bench.events() == ["credentials.set"]


async def test_a_token_that_was_moved_to_another_row_does_not_open(bench: Bench) -> None:
    own = bench.forge.token("alice")
    await bench.process().set_token(bench.repository, bench.project, own, type="pat", username=None, actor="root")
    async with bench.database.write() as session:
        await session.execute(sa.update(ProjectGitAuthToken).values(id=uuid.uuid4()))
    with pytest.raises(UserError, match="was changed, or sealed for another place") as caught:
        await bench.ensure()
    assert caught.value.code == "seal_broken"
    assert (await bench.auth()).validation_status == "invalid"


async def test_the_end_of_a_token_is_told_in_time(bench: Bench) -> None:
    """GitHub says when a token ends; a week before that somebody has to hear of it."""
    own = bench.forge.token("alice")
    bench.forge.expire_token(own, bench.now.timestamp() + 20 * 86_400)
    await bench.process().set_token(bench.repository, bench.project, own, type="pat", username=None, actor="root")
    await bench.ensure()
    auth = await bench.auth()
    assert (auth.validation_status, (auth.expires_at - bench.now).days) == ("valid", 20)
    bench.passes(days=14)
    await bench.process().renew_due()
    auth = await bench.auth()
    assert (auth.validation_status, "ends on 2026-01-21" in auth.validation_message) == ("expiring", True)
    bench.passes(days=7)
    await bench.process().renew_due()
    assert (await bench.auth()).validation_status == "invalid"
    assert await bench.events() == ["credentials.set", "credentials.expiring", "credentials.failed"]


# Deploy keys.


@pytest.mark.long
async def test_a_deploy_key_is_made_once_and_can_only_read(bench: Bench) -> None:
    access = await bench.ensure("deploy_key")
    again = await bench.ensure("deploy_key")
    assert access is not None
    assert again == access
    assert access.url == "ssh://git@sandbox.test/acme/web.git"
    assert bench.fetches(access)
    [key] = bench.forge.deploy_keys(bench.repository.full_name)
    assert (key.read_only, key.key) == (True, access.secret["identity.pub"])
    assert access.secret["known_hosts"].startswith("sandbox.test ssh-ed25519 ")
    held = await bench.held()
    assert held is not None
    assert held.key is not None
    assert held.key.forge_key_id == str(key.id)
    assert "PRIVATE" not in held.key.private_key_sealed
    async with bench.database.read() as session:
        git = await bench.process().git(session, bench.repository, bench.project)
    assert (git.url, git.secret) == (access.url, "git-credentials")


async def test_a_deploy_key_whose_registration_was_interrupted(bench: Bench) -> None:
    """The row is there before the forge is asked: whoever comes after finds the key, and makes no second one."""
    bench.forge.fail_next("POST", "/repos/acme/web/keys", status=502)
    with pytest.raises(TemporaryError):
        await bench.ensure("deploy_key")
    first = await bench.held()
    access = await bench.ensure("deploy_key")
    held = await bench.held()
    assert first is not None
    assert held is not None
    assert first.key is not None
    assert held.key is not None
    assert (held.key.id, held.key.public_key) == (first.key.id, first.key.public_key)
    async with bench.database.write() as session:  # as if it had died before it wrote the key's number down
        await session.execute(sa.update(ProjectGitAuthDeployKey).values(forge_key_id=None))
    assert await bench.ensure("deploy_key") == access
    assert len(bench.forge.deploy_keys(bench.repository.full_name)) == 1


async def test_a_deploy_key_that_somebody_made_writable_is_replaced(bench: Bench) -> None:
    await bench.ensure("deploy_key")
    [key] = bench.forge.deploy_keys(bench.repository.full_name)
    repository = bench.forge._state.repository(bench.repository.full_name)
    repository.keys[key.id] = type(key)(key.id, key.title, key.key, False, key.created_at)
    await bench.ensure("deploy_key")
    [now] = bench.forge.deploy_keys(bench.repository.full_name)
    assert (now.read_only, now.id != key.id) == (True, True)


async def test_a_deploy_key_needs_known_hosts(bench: Bench) -> None:
    bench.forge.access.host_key = ""
    bench.settings = ForgeSettings(
        url=URL, known_hosts="sandbox.test ssh-ed25519 AAAA\n", ssh_url="ssh://git@ssh.test:2222"
    )
    access = await bench.ensure("deploy_key")
    assert access is not None
    assert (access.url, access.secret["known_hosts"]) == (
        "ssh://git@ssh.test:2222/acme/web.git",
        "sandbox.test ssh-ed25519 AAAA\n",
    )


async def test_without_a_key_to_seal_with_no_key_is_made(bench: Bench) -> None:
    bench.keys = Keyring([])
    with pytest.raises(UserError, match="set SLUICE_SECRET_KEYS"):
        await bench.ensure("deploy_key")
    assert bench.forge.deploy_keys(bench.repository.full_name) == []


async def test_what_is_not_needed_any_more_goes(bench: Bench) -> None:
    """Another kind takes the old one's rows away; forgetting takes the key off the forge."""
    await bench.ensure("deploy_key")
    process = bench.process()
    await process.forget(bench.repository, bench.project)
    assert bench.forge.deploy_keys(bench.repository.full_name) == []
    assert await bench.held() is None
    bench.settings = ForgeSettings(url=URL, git_token=bench.token)
    await bench.ensure("deploy_key")
    await bench.ensure("token")
    held = await bench.held()
    assert held is not None
    assert (held.auth.auth_type, held.key) == ("token", None)
    assert bench.forge.deploy_keys(bench.repository.full_name) == []


# The GitHub App.


@pytest.mark.long
async def test_the_app_gives_a_token_for_one_repository_that_can_read(installed: Bench) -> None:
    access = await installed.ensure()
    assert access is not None
    assert (access.kind, access.secret["username"]) == ("app", "x-access-token")
    assert installed.fetches(access)
    assert [(grant.repositories, dict(grant.permissions)) for grant in installed.forge.access.issued] == [
        (("acme/web",), {"contents": "read", "metadata": "read"})
    ]
    held = await installed.held()
    assert held is not None
    assert held.app is not None
    assert (held.app.app_id, held.app.app_type) == ("4242", "github_app")
    assert not any(part in value for value in access.secret.values() for part in PEM.splitlines()[1:-1])


async def test_one_token_for_many_who_ask_at_once(installed: Bench) -> None:
    """Single flight, and kept until half of its life is over."""
    process = installed.process()
    app = process.apps["github"]
    tokens = await asyncio.gather(*(app.token("acme/web") for _ in range(20)))
    assert len({each.token for each in tokens}) == 1
    installed.passes(minutes=29)
    assert (await app.token("acme/web")).token == tokens[0].token
    installed.passes(minutes=2)
    assert (await app.token("acme/web")).token != tokens[0].token
    assert len(installed.forge.access.issued) == 2


async def test_an_app_that_is_not_installed_or_not_there(bench: Bench, installed: Bench) -> None:
    installed.forge._state.apps["4242"].installations.clear()
    with pytest.raises(UserError) as caught:
        await installed.ensure("app")
    assert caught.value.code == "app_not_installed"
    installed.with_app = False
    with pytest.raises(UserError) as caught:
        await installed.ensure("app")
    assert caught.value.code == "app_not_configured"


async def test_a_token_that_can_do_more_is_not_used(installed: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a forge not narrow what it was asked to narrow, the token goes nowhere."""
    granted = installed.forge.access._granted
    wide = lambda app, names, rights: granted(app, ["acme/other", "acme/web"], rights)  # noqa: E731
    monkeypatch.setattr(installed.forge.access, "_granted", wide)
    with pytest.raises(UserError) as caught:
        await installed.ensure("app")
    assert caught.value.code == "token_too_wide"
