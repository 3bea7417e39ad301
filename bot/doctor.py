"""Checks what Sluice depends on, and says what to do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bot.core.checks import Check, Level, Wanted
from bot.core.errors import BotError
from bot.core.ports import Cluster
from bot.core.sealing import Keyring
from bot.flux.checking import check
from bot.forges.github_app import GitHubApp
from bot.settings import Settings
from bot.store import connections, credentials, sealed
from bot.store.database import Database
from bot.wiring import make_apps, make_clusters, make_forges

# What a cluster can live without while somebody sets a project up, but not for good.
_RED = frozenset({"default_account_missing"})


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: Level
    found: str
    advice: str = ""

    @property
    def good(self) -> bool:
        """Whether Sluice can be run like this."""
        return self.level is not Level.FAILED


async def examine(settings: Settings) -> list[Finding]:
    """Look at the database, the forges and the clusters."""
    findings = [await _database(settings)]
    if findings[0].good:
        findings += await _seals(settings)
        findings += await _credentials(settings)
    findings += [finding async for finding in _forges(settings)]
    if settings.policy.allow_cluster_admin:
        advice = "unset SLUICE_ALLOW_CLUSTER_ADMIN, and let every environment have its service account"
        findings.append(Finding("policy", Level.FAILED, "environments may be applied as a cluster admin", advice))
    clusters = make_clusters(settings)
    for cluster in clusters.values():
        findings += await _cluster(cluster)
        await cluster.close()
    return findings


async def _database(settings: Settings) -> Finding:
    database = Database(settings.database_url)
    why = await database.ready()
    await database.close()
    return Finding("database", Level.OK if why is None else Level.FAILED, why or "reachable and up to date")


async def _seals(settings: Settings) -> list[Finding]:
    """Whether all that is sealed opens, and with which key."""
    database = Database(settings.database_url)
    said = sealed.describe(Keyring(settings.secret_keys), await sealed.uses(database))
    await database.close()
    advice = "keep the key until this is done: sluice rotate-keys"
    return [Finding("sealed values", level, text, "" if level is Level.OK else advice) for level, text in said]


async def _credentials(settings: Settings) -> list[Finding]:
    database = Database(settings.database_url)
    try:
        return await credential_findings(database)
    finally:
        await database.close()


async def credential_findings(database: Database) -> list[Finding]:
    """The credentials of projects, and the connected accounts, that somebody has to see to."""
    async with database.read() as session:
        troubled = await credentials.troubled(session)
        expired = await connections.expired(session)
    findings = [
        Finding(
            f"credentials of {repository.full_name} ({project.slug})",
            Level.WARNING if auth.auth_type == "token" and auth.validation_status == "expiring" else Level.FAILED,
            auth.validation_message or auth.validation_status,
            "sluice credentials set, or /enable when the cause is mended (docs/credentials.md)",
        )
        for auth, project, repository in troubled
    ]
    for each in expired:
        what, advice = f"connection of {each.username} to {each.provider}", "connect it again: docs/credentials.md"
        findings.append(Finding(what, Level.WARNING, "has expired", advice))
    return findings


async def _forges(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.forges:
        advice = "set SLUICE_GITHUB_… or SLUICE_GITEA_…: sluice settings"
        yield Finding("forges", Level.FAILED, "none is configured", advice)
    for name, forge in make_forges(settings).items():
        try:
            yield Finding(name, Level.OK, f"speaks to us as {await forge.own_login()}")
        except BotError as error:
            advice = f"check SLUICE_{name.upper()}_URL and SLUICE_{name.upper()}_TOKEN"
            yield Finding(name, Level.FAILED, str(error), advice)
        if not settings.forges[name].webhook_secrets:
            yield Finding(f"{name} webhooks", Level.OK, "only hooks that `sluice connect` registered are accepted")
        if settings.forges[name].git_token is None:
            advice = f"set SLUICE_{name.upper()}_GIT_TOKEN to a read-only token for private repositories"
            yield Finding(f"{name} for Flux", Level.OK, "only public repositories can be fetched", advice)
        await forge.close()
    for name, app in make_apps(settings).items():
        yield await app_finding(name, app)
        await app.close()


async def app_finding(forge: str, app: GitHubApp) -> Finding:
    """Whether the App has what tokens for Flux, check runs and their buttons need; the last two can be done without."""
    what = f"{forge} App"
    try:
        found = await app.registered()
    except BotError as error:
        return Finding(what, Level.FAILED, str(error), f"check SLUICE_{forge.upper()}_APP_ID and _APP_PRIVATE_KEY")
    if "contents" not in found.permissions:
        return Finding(what, Level.FAILED, "may not read contents: Flux gets no token", "give it Contents: read-only")
    if found.permissions.get("checks") != "write":
        advice = "give it Checks: read and write (docs/credentials.md)"
        return Finding(what, Level.WARNING, "may not write checks: deployments are shown as statuses", advice)
    if "check_run" not in found.events:
        return Finding(what, Level.WARNING, "is not told when a button is pressed", "subscribe it to Check run")
    return Finding(what, Level.OK, "gives Flux its tokens, and shows check runs with buttons")


async def _cluster(cluster: Cluster) -> list[Finding]:
    return [_finding(cluster, each) for each in await check(cluster, Wanted())]


def _finding(cluster: Cluster, found: Check) -> Finding:
    red = found.level is Level.WARNING and found.code in _RED
    level = Level.FAILED if red else found.level
    named = "" if found.level is Level.OK else f" ({found.code})"
    return Finding(f"cluster {cluster.name}", level, found.text + named, found.remedy)
