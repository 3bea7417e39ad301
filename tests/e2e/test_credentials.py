"""Credentials at a real Gitea: a deploy key that only reads, and an account that is connected and refreshed."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from litestar import Litestar

from bot import settings, wiring
from bot.core.access import GitAccess
from bot.core.errors import UserError
from bot.credentials import Credentials
from bot.store.database import Database, migrate
from bot.store.transactions import Store
from bot.web import problems
from bot.web.connections import router
from models import GitPlatformConnection, Organization, Project, Repository
from tests.servers.gitea import Gitea
from tests.servers.gitea_account import Account

pytestmark = pytest.mark.e2e

PUBLIC = "http://127.0.0.1"
CALLBACK = f"{PUBLIC}/connections/gitea/callback"


@dataclass
class Bench:
    """One repository, its project, and the part of Sluice that is about credentials."""

    server: Gitea
    credentials: Credentials
    database: Database
    repository: Repository
    project: Project
    now: datetime

    async def ensure(self, kind: str | None) -> GitAccess:
        access = await self.credentials.ensure(self.repository, self.project, kind=kind, actor="olivia")
        assert access is not None
        return access


class Silent:
    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Nobody hears it."""


@pytest.fixture(scope="module")
def server() -> Iterator[Gitea]:
    with Gitea(all_doors=True) as started:
        yield started


@pytest.fixture
async def bench(server: Gitea, tmp_path: Path) -> AsyncIterator[Bench]:
    body = {"name": "sluice", "redirect_uris": [CALLBACK], "confidential_client": True}
    made = server.owner.request("POST", "/user/applications/oauth2", json=body)
    found = settings.load(
        {
            "SLUICE_DATABASE_URL": f"sqlite:///{tmp_path}/sluice.db",
            "SLUICE_SECRET_KEYS": "k" * 32,
            "SLUICE_PUBLIC_URL": PUBLIC,
            "SLUICE_GITEA_URL": server.url,
            "SLUICE_GITEA_TOKEN": server.bot.token,
            "SLUICE_GITEA_GIT_TOKEN": server.git_token,
            "SLUICE_GITEA_SSH_URL": f"ssh://git@{server.host}:{server.ssh_port}",
            "SLUICE_GITEA_KNOWN_HOSTS": f"[{server.host}]:{server.ssh_port} {server.host_key}",
            "SLUICE_GITEA_OAUTH_CLIENT_ID": made["client_id"],
            "SLUICE_GITEA_OAUTH_CLIENT_SECRET": made["client_secret"],
        },
        serving=False,
    )
    migrate(found.database_url)
    database = Database(found.database_url)
    repository, project = await _rows(database, server)
    bench = Bench(server, None, database, repository, project, datetime.now(UTC))  # type: ignore[arg-type]
    forges = wiring.make_forges(found)
    bench.credentials = wiring.make_credentials(found, Store(database, Silent(), lambda: bench.now), forges, {})
    yield bench
    await bench.credentials.close()
    for forge in forges.values():
        await forge.close()
    await database.close()


async def _rows(database: Database, server: Gitea) -> tuple[Repository, Project]:
    name = server.create_repository(f"keys-{uuid.uuid4().hex[:6]}", {"README.md": "# keys\n"})
    organization = Organization(id=uuid.uuid4(), provider="gitea", name=server.owner.name)
    repository = Repository(
        id=uuid.uuid4(),
        organization_id=organization.id,
        provider="gitea",
        forge_id=str(server.owner.request("GET", f"/repos/{name}")["id"]),
        full_name=name,
        clone_url=server.clone_url(name),
        html_url=f"{server.url}/{name}",
        default_branch="main",
        private=True,
    )
    id = uuid.uuid4()
    facts = {"name": "keys", "slug": "keys", "namespace": f"project-{id.hex[:8]}"}
    project = Project(id=id, organization_id=organization.id, repository_id=repository.id, **facts)
    async with database.write() as session:
        for row in (organization, repository, project):
            session.add(row)
            await session.flush()
    return repository, project


def git(access: GitAccess, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Git over SSH with what Flux would get."""
    for name in ("identity", "known_hosts"):
        (folder / name).write_text(access.secret[name])
        (folder / name).chmod(0o600)
    options = f"-i {folder}/identity -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts -F /dev/null"
    environ = {
        "GIT_SSH_COMMAND": f"ssh {options} -o StrictHostKeyChecking=yes -o BatchMode=yes",
        "PATH": "/usr/bin:/bin",
    }
    return subprocess.run(["git", *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


async def test_a_deploy_key_reads_and_does_not_write(bench: Bench, tmp_path: Path) -> None:
    """Registered once, read-only, whoever is interrupted; Git fetches with it and is refused to push."""
    access = await bench.ensure("deploy_key")
    assert await bench.ensure("deploy_key") == access
    listed = bench.server.owner.request("GET", f"/repos/{bench.repository.full_name}/keys")
    assert [(key["read_only"], " ".join(key["key"].split()[:2])) for key in listed] == [
        (True, access.secret["identity.pub"])
    ]
    if shutil.which("ssh") and shutil.which("git"):
        cloned = git(access, tmp_path, "clone", "-q", access.url, "clone")
        assert cloned.returncode == 0, cloned.stderr
        pushed = git(access, tmp_path, "-C", "clone", "push", "origin", "HEAD:refs/heads/sneaky")
        assert pushed.returncode != 0
        assert "sneaky" not in bench.server.owner.branches(bench.repository.full_name)
    await bench.credentials.forget(bench.repository, bench.project)
    assert bench.server.owner.request("GET", f"/repos/{bench.repository.full_name}/keys") == []


async def test_a_token_is_tried(bench: Bench) -> None:
    access = await bench.ensure("token")
    assert access.secret["password"] == bench.server.git_token
    with pytest.raises(UserError) as caught:
        await bench.credentials.works(bench.repository, "not-a-token")
    assert caught.value.code == "credentials_invalid"
    with pytest.raises(UserError, match="does not see"):
        await bench.credentials.works(bench.repository, bench.server.forker.token)


async def test_an_account_is_connected_and_refreshed(bench: Bench) -> None:
    """Gitea as provider: login, consent, code with PKCE, a rotated refresh token; then the account registers a key."""
    app = Litestar([router(bench.credentials.connections)], exception_handlers=problems.HANDLERS, openapi_config=None)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC) as sluice:
        there = await sluice.get("/connections/gitea/start")
        back = consent(bench.server.owner, there.headers["location"])
        assert back.startswith(f"{CALLBACK}?")
        answer = await sluice.get(back.removeprefix(PUBLIC))
        assert answer.status_code == 200, answer.text
        assert (await sluice.get(back.removeprefix(PUBLIC))).status_code == 400

    async with bench.database.read() as session:
        row = (await session.execute(sa.select(GitPlatformConnection))).scalar_one()
    assert (row.username, row.status) == (bench.server.owner.name, "active")
    connections = bench.credentials.connections
    await connections.access_token(row.id)
    bench.now += timedelta(hours=1)  # Gitea's tokens last an hour; what it says itself is not waited for
    second = await connections.access_token(row.id)
    async with bench.database.read() as session:
        again = (await session.execute(sa.select(GitPlatformConnection))).scalar_one()
    assert row.expires_at is not None
    assert again.expires_at is not None
    assert again.expires_at >= row.expires_at + timedelta(minutes=50)
    assert again.refresh_token_sealed != row.refresh_token_sealed  # the access token may be the same within a second
    adapter = connections.as_token("gitea", second)
    assert (await adapter.account()).login == bench.server.owner.name
    await adapter.close()

    access = await bench.ensure("oauth")
    [key] = bench.server.owner.request("GET", f"/repos/{bench.repository.full_name}/keys")
    assert key["read_only"] is True
    assert not [value for value in access.secret.values() if second in value]

    for each in bench.server.owner.request("GET", "/user/applications/oauth2"):  # it knows the client no more
        bench.server.owner.request("DELETE", f"/user/applications/oauth2/{each['id']}")
    bench.now += timedelta(hours=2)
    with pytest.raises(UserError, match="connect it again at") as caught:
        await connections.access_token(row.id)
    assert caught.value.code == "connection_expired"


def consent(person: Account, url: str) -> str:
    """What a person does in a browser: logs in, looks at the page and says yes; where the forge sends them."""
    with httpx2.Client(base_url=person.url, timeout=30, follow_redirects=False) as browser:
        page = browser.get("/user/login")
        login = {**_hidden(page.text), "user_name": person.name, "password": person.password}
        entered = browser.post("/user/login", data=login)
        assert entered.status_code in (302, 303), entered.text[:2000]
        page = browser.get(url)
        assert page.status_code == 200, (page.status_code, page.headers.get("location"))
        granted = browser.post("/login/oauth/grant", data={**_hidden(page.text), "granted": "true"})
        assert granted.status_code in (302, 303), granted.text[:2000]
        return str(granted.headers["location"])


def _hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    found = {}
    for field in re.findall(r"<input[^>]*>", page):
        names, values = re.search(r'name="([^"]*)"', field), re.search(r'value="([^"]*)"', field)
        if 'type="hidden"' in field and names and values:
            found[names[1]] = unescape(values[1])
    return found
