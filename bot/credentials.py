"""What Flux fetches a project's repository with: chosen, made, tried at the forge, and renewed before it ends."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy.ext.asyncio import AsyncSession

from bot import objects
from bot.connections import Connections
from bot.core import access, manifests
from bot.core.access import APP_USERNAME, GitAccess, Issuer
from bot.core.errors import BotError, TemporaryError, UserError
from bot.core.ports import Cluster, DeployKey, Forge
from bot.core.sealing import Keyring, SealBroken
from bot.settings import ForgeSettings
from bot.store import credentials, log
from bot.store.credentials import Held
from bot.store.transactions import Store
from models import (
    Project,
    ProjectGitAuthApp,
    ProjectGitAuthDeployKey,
    ProjectGitAuthOauth,
    ProjectGitAuthToken,
    Repository,
)

TOKEN_TABLE, KEY_TABLE = ProjectGitAuthToken.__tablename__, ProjectGitAuthDeployKey.__tablename__
SSH_KINDS = ("deploy_key", "oauth")
logger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The credentials of all projects. `apps` are the GitHub Apps by forge; `as_token` acts with another token."""

    store: Store
    keys: Keyring
    forges: Mapping[str, Forge]
    clusters: Mapping[str, Cluster]
    settings: Mapping[str, ForgeSettings]
    apps: Mapping[str, Issuer]
    connections: Connections
    as_token: Callable[[str, str], Forge]

    async def close(self) -> None:
        """Give the connections back."""
        for app in self.apps.values():
            await app.close()
        await self.connections.close()

    # For those who write sources.

    async def git(self, session: AsyncSession, repository: Repository, project: Project) -> manifests.Git:
        """What a GitRepository of this project says: the address, and the Secret beside it."""
        held = await credentials.of_project(session, project.id)
        return manifests.Git(
            url=self._url(repository, held.auth.auth_type if held else None),
            secret=manifests.CREDENTIALS if held else None,
        )

    async def ensure(
        self, repository: Repository, project: Project, *, kind: str | None, actor: str
    ) -> GitAccess | None:
        """Credentials of that kind (None: what the operator set up) that were tried; None where none are needed."""
        async with self.store.read() as session:
            held = await credentials.of_project(session, project.id)
        chosen = kind or self._default(repository, held)
        if held is not None and held.key is not None and chosen not in SSH_KINDS:
            await self._unregister(repository, held.key)
        if chosen is None:
            async with self.store.write() as tx:
                await credentials.drop(tx.session, project.id)
            return None
        async with self.store.write() as tx:
            await credentials.put(tx, project.id, chosen, actor)
        return await self._tried(repository, project)

    def _default(self, repository: Repository, held: Held | None) -> str | None:
        """The project's own token, else the operator's, else the App; a public repository needs none."""
        settings = self.settings.get(repository.provider)
        if held is not None and held.token is not None:
            return "token"
        if settings is not None and settings.git_token is not None:
            return "token"
        if repository.provider in self.apps:
            return "app"
        if repository.private:
            raise self._missing(repository)
        return None

    def _missing(self, repository: Repository) -> UserError:
        return UserError(
            "git_credentials_missing",
            "this repository is private and Sluice has nothing that Flux may fetch it with: the operator sets "
            f"SLUICE_{repository.provider.upper()}_GIT_TOKEN (read-only), or `git: deploy_key` stands in .sluice.yaml",
        )

    # Renewal.

    async def renew_due(self) -> None:
        """Renew and try what is due; trouble with one project does not keep the others waiting."""
        now = self.store.clock()
        async with self.store.read() as session:
            due = await credentials.due(session, now)
        for auth, project, repository in due:
            async with self.store.write() as tx:
                if not await credentials.claim(tx.session, auth, access.retry(auth.expires_at, now)):
                    continue
            try:
                await self._renew(repository, project)
            except Exception as error:
                logger.exception("credentials were not renewed", project=str(project.id), error=repr(error))

    async def _renew(self, repository: Repository, project: Project) -> None:
        """A new Secret in every cluster of the project; a failure is written down, and tried again in time."""
        try:
            await self._tried(repository, project, self._write)
        except BotError as error:
            logger.warning("credentials were not renewed", repository=repository.full_name, why=str(error))

    async def _write(self, project: Project, found: GitAccess) -> None:
        """The same Secret again changes nothing."""
        async with self.store.read() as session:
            names = await credentials.clusters(session, project.id)
        for name in names:
            if name in self.clusters:
                await self.clusters[name].apply(manifests.credentials(objects.owner(project), found.secret))

    async def _tried(
        self,
        repository: Repository,
        project: Project,
        write: Callable[[Project, GitAccess], Awaitable[None]] | None = None,
    ) -> GitAccess:
        """The access of the project's kind, made where it is missing; whether it works is written down.

        `write` comes before that: what is noted as renewed lies in the cluster.
        """
        async with self._noting(project):
            async with self.store.read() as session:
                held = await credentials.of_project(session, project.id)
            if held is None:
                raise TemporaryError("the credentials were taken away meanwhile")
            found = await self._of_kind(repository, project, held)
            if write is not None:
                await write(project, found)
        await self._well(project, found)
        return found

    async def _of_kind(self, repository: Repository, project: Project, held: Held) -> GitAccess:
        match held.auth.auth_type:
            case "token":
                return await self._token(repository, held)
            case "app":
                return await self._app(repository, held)
            case "deploy_key":
                return await self._deploy_key(repository, project, held, self.forges[repository.provider])
            case _:
                return await self._oauth(repository, project, held)

    # Kinds.

    async def _token(self, repository: Repository, held: Held) -> GitAccess:
        """The project's own token, else the operator's."""
        settings = self.settings[repository.provider]
        if held.token is not None:
            place = {"table": TOKEN_TABLE, "column": "token_sealed"}
            token = self.keys.open(held.token.token_sealed, row=held.token.id, **place)
            username, said = held.token.username or settings.git_username, "the project's own token"
        elif settings.git_token is not None:
            token, username, said = settings.git_token, settings.git_username, "the operator's token"
        else:
            raise self._missing(repository)
        ends = await self.works(repository, token)
        return GitAccess(
            kind="token",
            url=repository.clone_url,
            secret={"username": username, "password": token},
            said=f"{said}, as `{username}`",
            expires_at=ends,
        )

    async def works(self, repository: Repository, token: str) -> datetime | None:
        """Try a token at the forge; until when it works, where the forge says so. UserError if it does not."""
        adapter = self.as_token(repository.provider, token)
        try:
            found = await adapter.access(repository.full_name)
        except UserError as error:
            raise UserError("credentials_invalid", f"the token for Flux does not work: {error.message}") from None
        finally:
            await adapter.close()
        if not found.seen:
            text = f"the token for Flux does not see {repository.full_name}: it may read other repositories only"
            raise UserError("credentials_invalid", text)
        if found.expires_at is not None and found.expires_at <= self.store.clock():
            raise UserError("credentials_invalid", "the token for Flux has expired")
        return found.expires_at

    async def _app(self, repository: Repository, held: Held) -> GitAccess:
        """A token of the App for this repository alone; the App's key stays here."""
        app = self.apps.get(repository.provider)
        if app is None:
            raise UserError(
                "app_not_configured",
                f"{repository.provider} has no App here: the operator sets SLUICE_GITHUB_APP_ID and "
                "SLUICE_GITHUB_APP_PRIVATE_KEY",
            )
        issued = await app.token(repository.full_name)
        async with self.store.write() as tx:
            row = held.app or ProjectGitAuthApp(id=uuid.uuid4(), auth_id=held.auth.id, app_type="github_app")
            row.app_id, row.installation_id = app.app_id, issued.installation_id
            await tx.session.merge(row)
        return GitAccess(
            kind="app",
            url=repository.clone_url,
            secret={"username": APP_USERNAME, "password": issued.token},
            said=f"the GitHub App {app.app_id}, reading this repository only",
            expires_at=issued.expires_at,
            short_lived=True,
        )

    async def _oauth(self, repository: Repository, project: Project, held: Held) -> GitAccess:
        """A deploy key that the connected account registers; its own token never enters a cluster."""
        connection = held.oauth.connection_id if held.oauth else (await self.connections.best(repository.provider)).id
        token = await self.connections.access_token(connection)
        if held.oauth is None:
            async with self.store.write() as tx:
                row = ProjectGitAuthOauth(id=uuid.uuid4(), auth_id=held.auth.id, connection_id=connection)
                tx.session.add(row)
        adapter = self.as_token(repository.provider, token)
        try:
            return await self._deploy_key(repository, project, held, adapter)
        finally:
            await adapter.close()

    async def _deploy_key(self, repository: Repository, project: Project, held: Held, forge: Forge) -> GitAccess:
        """A read-only SSH key of the project's own: the row first, so that what is registered is never lost."""
        url = self._url(repository, held.auth.auth_type)
        hosts = await self._known_hosts(repository, url)
        key = held.key or await self._made(held)
        private = self.keys.open(key.private_key_sealed, table=KEY_TABLE, row=key.id, column="private_key_sealed")
        registered = await _registered(forge, repository, project, key.public_key)
        if registered.id != key.forge_key_id:
            async with self.store.write() as tx:
                (await tx.session.get_one(ProjectGitAuthDeployKey, key.id)).forge_key_id = registered.id
        return GitAccess(
            kind=held.auth.auth_type,
            url=url,
            secret={"identity": private, "identity.pub": key.public_key, "known_hosts": hosts},
            said=f"a read-only deploy key, {key.fingerprint}",
        )

    async def _made(self, held: Held) -> ProjectGitAuthDeployKey:
        private = Ed25519PrivateKey.generate()
        text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        row = ProjectGitAuthDeployKey(id=uuid.uuid4(), auth_id=held.auth.id, public_key=public)
        row.fingerprint = access.fingerprint(public)
        row.private_key_sealed = self.keys.seal(text, table=KEY_TABLE, row=row.id, column="private_key_sealed")
        async with self.store.write() as tx:
            tx.session.add(row)
        return row

    async def _known_hosts(self, repository: Repository, url: str) -> str:
        settings = self.settings[repository.provider]
        if settings.known_hosts is not None:
            return settings.known_hosts
        keys = await self.forges[repository.provider].host_keys()
        if not keys:
            name = repository.provider.upper()
            raise UserError(
                "known_hosts_missing",
                f"{repository.provider} does not tell the keys of its SSH server: the operator sets "
                f"SLUICE_{name}_KNOWN_HOSTS (made with ssh-keyscan, and compared)",
            )
        return access.known_hosts(url, keys)

    def _url(self, repository: Repository, kind: str | None) -> str:
        if kind not in SSH_KINDS:
            return repository.clone_url
        settings = self.settings.get(repository.provider)
        return access.ssh_url(repository.clone_url, settings.ssh_url if settings else None)

    # What the operator and /disable do.

    async def set_token(
        self, repository: Repository, project: Project, token: str, *, type: str, username: str | None, actor: str
    ) -> datetime | None:
        """A token of the project's own, tried first; the Secret is written with the next sweep."""
        ends = await self.works(repository, token)
        async with self.store.write() as tx:
            auth = await credentials.put(tx, project.id, "token", actor)
            held = await credentials.of_project(tx.session, project.id)
            row = held.token if held and held.token else ProjectGitAuthToken(id=uuid.uuid4(), auth_id=auth.id)
            row.token_type, row.username = type, username
            row.token_sealed = self.keys.seal(token, table=TOKEN_TABLE, row=row.id, column="token_sealed")
            tx.session.add(row)
            auth.renew_at, auth.expires_at, auth.created_by = tx.now, ends, actor
            self._log(tx.session, project, "credentials.set", actor=actor, kind="token", type=type)
        return ends

    async def forget(self, repository: Repository, project: Project) -> None:
        """Take a deploy key off the forge, and the rows away: for /disable, after the Secret went."""
        async with self.store.read() as session:
            held = await credentials.of_project(session, project.id)
        if held is not None and held.key is not None:
            await self._unregister(repository, held.key)
        async with self.store.write() as tx:
            await credentials.drop(tx.session, project.id)

    async def _unregister(self, repository: Repository, key: ProjectGitAuthDeployKey) -> None:
        """Take a deploy key off the forge before its row goes; one that cannot be taken off is no reason to stop."""
        forge = self.forges[repository.provider]
        try:
            for found in await forge.deploy_keys(repository.full_name):
                if found.key == key.public_key:
                    await forge.remove_deploy_key(repository.full_name, found.id)
        except UserError as error:
            logger.warning("a deploy key of ours stays", repository=repository.full_name, why=error.message)

    # What is written down.

    @asynccontextmanager
    async def _noting(self, project: Project) -> AsyncIterator[None]:
        """Write a failure down: as an event when it is news, and in the row, which is tried again in time."""
        try:
            yield
        except SealBroken as error:
            broken = UserError("seal_broken", str(error))
        except UserError as error:
            await self._ill(project, error.message, final=True)
            raise
        except TemporaryError as error:
            await self._ill(project, str(error), final=False)
            raise
        else:
            return
        await self._ill(project, broken.message, final=True)
        raise broken

    async def _ill(self, project: Project, why: str, *, final: bool) -> None:
        """Passing trouble matters only to what ends by itself."""
        async with self.store.write() as tx:
            held = await credentials.of_project(tx.session, project.id)
            if held is None:
                return
            auth = held.auth
            auth.renew_at = access.retry(auth.expires_at, tx.now)
            if not final and auth.expires_at is None:
                return
            over = auth.expires_at is not None and auth.expires_at <= tx.now
            status = "invalid" if final or over else "expiring"
            news = (auth.validation_status, auth.validation_message) != (status, why)
            auth.validation_status, auth.validation_message = status, why
            if news:
                severity = "error" if status == "invalid" else "warning"
                self._log(tx.session, project, "credentials.failed", severity=severity, kind=auth.auth_type, why=why)

    async def _well(self, project: Project, found: GitAccess) -> None:
        async with self.store.write() as tx:
            held = await credentials.of_project(tx.session, project.id)
            if held is None:
                return
            auth = held.auth
            ending = access.expiring(found, tx.now)
            before, status = auth.validation_status, "expiring" if ending else "valid"
            text = f"{found.said} ends on {found.expires_at:%Y-%m-%d}" if ending else None
            auth.validation_status, auth.validation_message, auth.last_validated_at = status, text, tx.now
            auth.expires_at, auth.renew_at = found.expires_at, access.renewal(found, tx.now)
            if ending and before != "expiring":
                self._log(tx.session, project, "credentials.expiring", severity="warning", why=text)
            elif before in ("invalid", "expiring") and not ending:
                self._log(tx.session, project, "credentials.recovered", kind=auth.auth_type)

    def _log(self, session: AsyncSession, project: Project, action: str, **facts: Any) -> None:
        organization, resource = project.organization_id, ("project", project.id)
        log.record(session, action, organization_id=organization, resource=resource, **facts)


async def _registered(forge: Forge, repository: Repository, project: Project, public: str) -> DeployKey:
    """The key at the forge, read-only; found if it was registered before, by whoever was interrupted."""
    for key in await forge.deploy_keys(repository.full_name):
        if key.key == public:
            if key.read_only:
                return key
            await forge.remove_deploy_key(repository.full_name, key.id)
    return await forge.add_deploy_key(repository.full_name, f"Sluice, read-only ({project.namespace})", public)
