"""The composition root: settings become adapters, adapters become the services of a process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog

from bot import registry
from bot.connections import Connections
from bot.core.access import Issuer
from bot.core.deployments import UNSETTLED
from bot.core.errors import DiskFull
from bot.core.policy import DEFAULT_CLUSTER, Policy
from bot.core.ports import Bell, Cluster, Forge
from bot.core.sealing import Keyring
from bot.credentials import Credentials
from bot.deploying import Deployer
from bot.flux.cluster import KubernetesCluster
from bot.flux.observer import ByName, Observer
from bot.forges import github_checks
from bot.forges.github import GitHub, connect
from bot.forges.github_app import GitHubApp
from bot.forges.github_checks import CheckRuns
from bot.forges.oauth import OAuth
from bot.observing import CHART, OF_RELEASES, TYPES, Observations
from bot.opening import Opener
from bot.reporting import Reporter
from bot.runner import Runner
from bot.settings import ForgeSettings, Settings
from bot.store import chain, desk, leases
from bot.store.database import Database
from bot.store.desk import Desk
from bot.store.presence import Presence
from bot.store.transactions import Store
from bot.sweeping import Sweeper
from models import Delivery, Deployment, Notification, Run
from models.base import now

Given = TypeVar("Given")
Answer = TypeVar("Answer")
SWEEP_SECONDS = 5.0
RECONCILE_SECONDS = 300.0
RENEW_SECONDS = 20.0
CHAIN_SECONDS = 1.0
logger = structlog.get_logger()


def make_forges(settings: Settings) -> dict[str, Forge]:
    """An adapter for each forge that is configured."""
    known = registry.forges()
    return {name: known[name](each.url, each.token, **_checks(name, each)) for name, each in settings.forges.items()}


def _checks(name: str, each: ForgeSettings) -> dict[str, CheckRuns]:
    """What only a GitHub App can do."""
    if name != GitHub.name or each.app_id is None or each.app_private_key is None:
        return {}
    app = GitHubApp(each.url, each.app_id, each.app_private_key, rights=github_checks.RIGHTS)
    return {"checks": CheckRuns(connect(each.url, None), app)}


def make_clusters(settings: Settings) -> dict[str, KubernetesCluster]:
    """The clusters by their names."""
    return {name: make() for name, make in cluster_makers(settings).items()}


def cluster_makers(settings: Settings) -> dict[str, Callable[[], KubernetesCluster]]:
    """How to make each; `default` is that of the kubeconfig, or the one that this process runs in."""
    by_file = KubernetesCluster.from_kubeconfig
    named = {name: partial(by_file, name, path) for name, path in settings.kubeconfigs.items()}
    if settings.kubeconfig is not None:
        return {DEFAULT_CLUSTER: partial(by_file, DEFAULT_CLUSTER, settings.kubeconfig), **named}
    if settings.in_pod or not named:
        return {DEFAULT_CLUSTER: partial(KubernetesCluster.in_cluster, DEFAULT_CLUSTER), **named}
    return {**named}


class Backend:
    """Everything behind the intake: works the queues, observes the clusters, sweeps. It lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        bell: Bell,
        *,
        observe: bool = True,
        sweep_seconds: float = SWEEP_SECONDS,
        reconcile_seconds: float = RECONCILE_SECONDS,
    ) -> None:
        self._settings, self._bell, self._observe = settings, bell, observe
        self._sweep_seconds, self._reconcile_seconds = sweep_seconds, reconcile_seconds
        self._observers: list[asyncio.Task[None]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._desks: dict[str, Desk[Any]] = {}

    async def start(self) -> None:
        """Connect, and begin to observe and sweep."""
        settings = self._settings
        self.database = Database(settings.database_url)
        self.store = Store(self.database, self._bell, now)
        self.forges: Mapping[str, Forge] = make_forges(settings)
        self.clusters = make_clusters(settings)
        self.credentials = make_credentials(settings, self.store, self.forges, self.clusters)
        self._desks = make_desks(self.store, self.forges, self.clusters, self.credentials, settings.policy)
        self.sweeper = Sweeper(self.store, self.forges, self._desks)
        await self._enter()
        self._appender = chain.Appender(self.store, Keyring(settings.secret_keys))
        self._observations = {
            name: Observations(self.store, cluster, self.credentials, settings.restore_pins)
            for name, cluster in self.clusters.items()
        }
        if self._observe:
            runs = [self._observer(cluster).run() for cluster in self.clusters.values()]
            runs += [self._by_name(cluster).run() for cluster in self.clusters.values()]
            self._observers = [asyncio.create_task(run) for run in runs]
        self._loops = [
            asyncio.create_task(_every(self._sweep_seconds, self._sweep, self._stopping)),
            asyncio.create_task(_every(self._reconcile_seconds, self.sweeper.reconcile, self._stopping)),
            asyncio.create_task(_every(RENEW_SECONDS, self.credentials.renew_due, self._stopping)),
            asyncio.create_task(_every(CHAIN_SECONDS, self._chain, self._stopping)),
            asyncio.create_task(_every(self._reconcile_seconds, self._look_again, self._stopping)),
        ]

    async def _enter(self) -> None:
        """Go on at once with what the dead have left; where others may work, with each row when its lease ends."""
        self._presence = Presence(self.database.file)
        async with self._presence.entering() as alone:
            if alone:
                await self._take_from_the_dead()

    async def _take_from_the_dead(self) -> None:
        try:
            async with self.store.write() as tx:
                for each in self._desks.values():
                    await leases.take_from_the_dead(tx.session, each.table, each.statuses, tx.now)
        except (DiskFull, sa.exc.SQLAlchemyError) as error:  # a full disk, no tables yet: the leases end by themselves
            logger.warning("what was left is not taken up at once", why=str(error))

    async def stop(self) -> None:
        """End what runs in the background, then close all connections."""
        self._stopping.set()
        for observer in self._observers:
            observer.cancel()
        await asyncio.gather(*self._loops, *self._observers, return_exceptions=True)
        await self._appender.let_go()
        for forge in self.forges.values():
            await forge.close()
        await self.credentials.close()
        for cluster in self.clusters.values():
            await cluster.close()
        await self.database.close()
        self._presence.leave()

    async def serve(self, queue: str, id: UUID) -> None:
        """Work on one row."""
        await desk.serve(self.store, self._desks[queue], id)

    async def _look_again(self) -> None:
        for observations in self._observations.values() if self._observe else ():
            await observations.look_again()

    async def _chain(self) -> None:
        await self._appender.append()

    async def _sweep(self) -> None:
        await self.sweeper.sweep()

    def _observer(self, cluster: KubernetesCluster) -> Observer:
        seen = self._observations[cluster.name]
        return Observer(
            cluster.name,
            cluster.connection,
            tuple(TYPES),
            others={CHART: OF_RELEASES},
            on_change=whole(seen.changed),
            on_gone=whole(seen.gone),
            known=whole(seen.known),
        )

    def _by_name(self, cluster: KubernetesCluster) -> ByName:
        """For what others keep."""
        seen = self._observations[cluster.name]
        wanted = whole(seen.named)
        return ByName(
            cluster.name,
            cluster.connection,
            on_change=whole(seen.changed_by_name),
            on_gone=whole(seen.gone_by_name),
            known=whole(seen.adopted),
            wanted=lambda: wanted(None),
        )


def make_credentials(
    settings: Settings, store: Store, forges: Mapping[str, Forge], clusters: Mapping[str, Cluster]
) -> Credentials:
    """What projects fetch with, on one event loop."""
    return Credentials(
        store=store,
        keys=Keyring(settings.secret_keys),
        forges=forges,
        clusters=clusters,
        settings=settings.forges,
        apps=dict[str, Issuer](make_apps(settings)),
        connections=make_connections(settings, store, forges),
        as_token=_as_token(settings),
    )


def make_connections(settings: Settings, store: Store, forges: Mapping[str, Forge]) -> Connections:
    """The accounts that are connected by OAuth, on one event loop."""
    return Connections(
        store=store,
        keys=Keyring(settings.secret_keys),
        providers={
            name: OAuth(name, each.url, each.oauth_client_id, each.oauth_client_secret)
            for name, each in settings.forges.items()
            if each.oauth_client_id is not None and each.oauth_client_secret is not None
        },
        forges=forges,
        as_token=_as_token(settings),
        public_url=settings.public_url,
    )


def _as_token(settings: Settings) -> Callable[[str, str], Forge]:
    """An adapter that acts with another token."""
    return lambda name, token: registry.forges()[name](settings.forges[name].url, token)


def make_apps(settings: Settings) -> dict[str, GitHubApp]:
    """The Apps that make Flux's tokens, by the names of their forges."""
    return {
        name: GitHubApp(each.url, each.app_id, each.app_private_key)
        for name, each in settings.forges.items()
        if each.app_id is not None and each.app_private_key is not None
    }


def make_desks(
    store: Store,
    forges: Mapping[str, Forge],
    clusters: Mapping[str, Cluster],
    credentials: Credentials,
    policy: Policy,
) -> dict[str, Desk[Any]]:
    """The queues and what is done for each."""
    opener = Opener(store, forges)
    runner = Runner(store, forges, clusters, credentials, policy)
    deployer = Deployer(store, forges, clusters, credentials, policy)
    reporter = Reporter(store, forges)
    return {
        "open": Desk("open", Delivery, ("recorded",), opener.open, opener.give_up),
        "execute": Desk("execute", Run, ("queued",), runner.execute, runner.give_up),
        "advance": Desk("advance", Deployment, UNSETTLED, deployer.advance, deployer.give_up),
        "report": Desk("report", Notification, ("queued",), reporter.report, reporter.give_up),
    }


async def _every(seconds: float, work: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
    """Do something again and again; its failure is logged and does not end it."""
    while True:
        try:
            await work()
        except DiskFull as error:
            logger.error("the disk is full", work=getattr(work, "__name__", repr(work)), why=str(error))
        except Exception:
            logger.exception("background work failed", work=getattr(work, "__name__", repr(work)))
        if await desk.happened(stopping, seconds):
            return


def whole(work: Callable[[Given], Awaitable[Answer]]) -> Callable[[Given], Awaitable[Answer]]:
    """Work that goes on to its end when its caller is cancelled: a transaction that is cut may keep its lock."""

    async def call(given: Given) -> Answer:
        task = asyncio.ensure_future(work(given))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    return call
