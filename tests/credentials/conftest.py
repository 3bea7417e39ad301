"""A project, a sandbox forge, a cluster that keeps Secrets, and a clock that a test moves."""

import base64
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bot.connections import Connections
from bot.core.access import GitAccess
from bot.core.errors import BotError
from bot.core.ports import Cluster
from bot.core.sealing import Keyring
from bot.credentials import Credentials
from bot.forges.github import GitHub
from bot.forges.github_app import GitHubApp
from bot.forges.oauth import OAuth
from bot.http import Client, Limits
from bot.sandbox.forge import SandboxForge
from bot.sandbox.git import GitStore
from bot.settings import ForgeSettings
from bot.store import credentials
from bot.store.credentials import Held
from bot.store.database import Database, migrate
from bot.store.transactions import Store
from models import GitopsResource, Organization, Project, Repository, UnifiedEvent

URL = "http://sandbox.test"
PUBLIC = "https://sluice.example"
KEY = b"k" * 32
APP = "4242"
PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Silent:
    """A bell that nobody hears."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Nobody hears it."""


@dataclass
class Secrets:
    """A cluster that keeps what is applied, or fails as it is told."""

    name: str = "default"
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    written: int = 0
    failure: BotError | None = None

    async def apply(self, manifest: dict[str, Any], **_: Any) -> None:
        """Keep the Secret's data in clear."""
        if self.failure is not None:
            raise self.failure
        where = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
        self.held[where] = {key: base64.b64decode(value).decode() for key, value in manifest["data"].items()}
        self.written += 1


@dataclass
class Bench:
    """Everything that a project's credentials have to do with."""

    database: Database
    secrets: Secrets = field(default_factory=Secrets)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    settings: ForgeSettings = field(default_factory=lambda: ForgeSettings(url=URL))
    keys: Keyring = field(default_factory=lambda: Keyring([KEY]))
    with_app: bool = False
    made: list[Credentials] = field(default_factory=list)
    # Put in place by the fixture:
    forge: SandboxForge = field(init=False)
    token: str = field(init=False)
    transport: httpx2.AsyncBaseTransport = field(init=False)
    repository: Repository = field(init=False)
    project: Project = field(init=False)

    def client(self, token: str | None = None, **options: Any) -> Client:
        authorization = f"Bearer {token}" if token else None
        limits = Limits(attempts=1)
        clock = lambda: self.now.timestamp()  # noqa: E731
        return Client(URL, authorization=authorization, transport=self.transport, limits=limits, clock=clock, **options)

    def adapter(self, token: str) -> GitHub:
        return GitHub(client=self.client(token))

    def process(self) -> Credentials:
        """What one process has: its own caches, the same database."""
        store = Store(self.database, Silent(), lambda: self.now)
        forges = {"github": self.adapter(self.token)}
        as_token = lambda name, token: self.adapter(token)  # noqa: E731
        clock = lambda: self.now.timestamp()  # noqa: E731
        app = GitHubApp(URL, APP, PEM, client=self.client(), clock=clock)
        oauth = OAuth(
            "github", URL, "client-1", "client-secret-1", client=self.client(headers={"accept": "application/json"})
        )
        connections = Connections(
            store=store,
            keys=self.keys,
            providers={"github": oauth},
            forges=forges,
            as_token=as_token,
            public_url=PUBLIC,
        )
        found = Credentials(
            store=store,
            keys=self.keys,
            forges=forges,
            clusters={"default": cast(Cluster, self.secrets)},
            settings={"github": self.settings},
            apps={"github": app} if self.with_app else {},
            connections=connections,
            as_token=as_token,
        )
        self.made.append(found)
        return found

    async def ensure(self, kind: str | None = None, process: Credentials | None = None) -> GitAccess | None:
        return await (process or self.process()).ensure(self.repository, self.project, kind=kind, actor="alice")

    async def held(self) -> Held | None:
        async with self.database.read() as session:
            return await credentials.of_project(session, self.project.id)

    async def auth(self) -> Any:
        held = await self.held()
        assert held is not None
        return held.auth

    async def events(self) -> list[str]:
        query = sa.select(UnifiedEvent).order_by(UnifiedEvent.created_at)
        async with self.database.read() as session:
            return [row.action for row in (await session.execute(query)).scalars()]

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)

    @property
    def secret(self) -> dict[str, str]:
        return self.secrets.held[f"{self.project.namespace}/git-credentials"]

    def fetches(self, access: GitAccess) -> bool:
        """Whether Flux gets the repository with it."""
        parts = access.secret
        pair = ("git", parts["identity"]) if "identity" in parts else (parts["username"], parts["password"])
        try:
            self.forge.store.fetch(access.url, pair, "main", None)
        except Exception:
            return False
        return True


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A private repository with a project in it, that nothing fetches yet."""
    url = f"sqlite+aiosqlite:///{tmp_path}/sluice.db"
    migrate(url)
    database = Database(url)
    made = Bench(database)
    forge = SandboxForge(GitStore(tmp_path / "git"), url=URL, clock=lambda: made.now.timestamp())
    made.forge, made.transport = forge, httpx2.ASGITransport(forge.app)
    made.token = forge.add_user("sluice-bot")
    for login in ("alice", "bob"):
        forge.add_user(login)
    name = forge.create_repository("acme", "web", {"README.md": b"Hello\n"}, private=True)
    forge.set_permission(name, "sluice-bot", "admin")
    forge.set_permission(name, "alice", "admin")
    await _rows(made, name)
    yield made
    for each in made.made:
        await each.close()
        for adapter in each.forges.values():
            await adapter.close()
    forge.close()
    await database.close()


async def _rows(bench: Bench, name: str) -> None:
    organization = Organization(id=uuid.uuid4(), provider="github", name="acme")
    bench.repository = Repository(
        id=uuid.uuid4(),
        organization_id=organization.id,
        provider="github",
        forge_id=str(bench.forge.repository_id(name)),
        full_name=name,
        clone_url=f"{URL}/{name}.git",
        html_url=f"{URL}/{name}",
        default_branch="main",
        private=True,
    )
    id = uuid.uuid4()
    bench.project = Project(
        id=id,
        organization_id=organization.id,
        repository_id=bench.repository.id,
        name="web",
        slug="web",
        namespace=f"project-{id.hex[:8]}",
    )
    source = GitopsResource(
        id=uuid.uuid4(),
        project_id=id,
        repository_id=bench.repository.id,
        type="git-repository",
        cluster="default",
        namespace=bench.project.namespace,
        name="branch-main",
        branch="main",
    )
    async with bench.database.write() as session:
        for row in (organization, bench.repository, bench.project, source):
            session.add(row)
            await session.flush()


@pytest.fixture
def installed(bench: Bench) -> Bench:
    """The same with a GitHub App that is installed on this repository and another one, with wider rights."""
    other = bench.forge.create_repository("acme", "other", {"README.md": b"x\n"}, private=True)
    bench.forge.add_app(APP, PUBLIC_PEM, {"contents": "write", "administration": "admin"})
    bench.forge.install_app(APP, bench.repository.full_name, other)
    bench.with_app = True
    return bench


@pytest.fixture
def connectable(bench: Bench) -> Bench:
    """The same with an OAuth application."""
    bench.forge.add_oauth_client("client-1", "client-secret-1", f"{PUBLIC}/connections/github/callback")
    return bench
