"""Checks what Sluice depends on, and says what to do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bot.core.errors import BotError
from bot.core.ports import Cluster
from bot.settings import Settings
from bot.store.database import Database
from bot.wiring import make_clusters, make_forges

POLICIES = ("sluice-gate", "sluice-status", "sluice-fence")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    found: str
    advice: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Look at the database, the forges and the cluster."""
    findings = [await _database(settings)]
    findings += [finding async for finding in _forges(settings)]
    clusters = make_clusters(settings)
    for cluster in clusters.values():
        findings += [finding async for finding in _cluster(cluster)]
        await cluster.close()
    return findings


async def _database(settings: Settings) -> Finding:
    database = Database(settings.database_url)
    why = await database.ready()
    await database.close()
    return Finding("database", why is None, why or "reachable and up to date")


async def _forges(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.forges:
        yield Finding("forges", False, "none is configured", "set SLUICE_GITHUB_… or SLUICE_GITEA_…: sluice settings")
    for name, forge in make_forges(settings).items():
        try:
            yield Finding(name, True, f"speaks to us as {await forge.own_login()}")
        except BotError as error:
            yield Finding(name, False, str(error), f"check SLUICE_{name.upper()}_URL and SLUICE_{name.upper()}_TOKEN")
        if not settings.forges[name].webhook_secrets:
            yield Finding(f"{name} webhooks", True, "only hooks that `sluice connect` registered are accepted")
        if settings.forges[name].git_token is None:
            advice = f"set SLUICE_{name.upper()}_GIT_TOKEN to a read-only token for private repositories"
            yield Finding(f"{name} for Flux", True, "only public repositories can be fetched", advice)
        await forge.close()


async def _cluster(cluster: Cluster) -> AsyncIterator[Finding]:
    what = f"cluster {cluster.name}"
    try:
        for kind in ("GitRepository", "Kustomization"):
            await cluster.get(kind, "default", "sluice-doctor")
        yield Finding(what, True, "reachable, with Flux's kinds")
        for policy in POLICIES:
            yield await _policy(cluster, policy)
    except BotError as error:
        yield Finding(what, False, str(error), "check SLUICE_KUBECONFIG, and that Flux is installed")


async def _policy(cluster: Cluster, name: str) -> Finding:
    what, advice = f"policy {name} in {cluster.name}", "kubectl apply -f deploy/policies.yaml"
    try:
        binding = await cluster.get("ValidatingAdmissionPolicyBinding", None, name)
    except BotError as error:
        return Finding(what, False, str(error), "kubectl apply -f deploy/rbac.yaml")
    if binding is None:
        return Finding(what, False, "is missing: the gate can be opened from a manifest", advice)
    actions = binding["spec"].get("validationActions", [])
    if "Deny" not in actions:
        return Finding(what, False, f"only does {', '.join(actions)}", advice)
    return Finding(what, True, "denies")
