"""The server: intake in front, and unless told otherwise a worker behind it in the same process."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from litestar import Litestar

from bot.core.ports import Bell
from bot.settings import Settings
from bot.store.database import Database
from bot.store.deliveries import Intake
from bot.store.transactions import Store
from bot.web import connections as connecting
from bot.web import deployments
from bot.web.app import create_app
from bot.web.hooks import known_in
from bot.wiring import make_connections, make_forges
from bot.worker import Worker
from models.base import now

GRACE_SECONDS = 20  # less than the 30 that Kubernetes gives


def make_app(settings: Settings, bell: Bell) -> Litestar:
    """The web application for these settings."""
    database = Database(settings.database_url)
    forges = make_forges(settings)
    connections = make_connections(settings, Store(database, bell, now), forges)

    @asynccontextmanager
    async def connected(app: Litestar) -> AsyncIterator[None]:
        yield
        for forge in forges.values():
            await forge.close()
        await connections.close()
        await database.close()

    intake = Intake(settings.database_url, bell)
    routers = [connecting.router(connections)]
    if settings.api_token is not None:
        routers.append(deployments.router(database, settings.api_token))
    known, ready = known_in(database), database.ready
    return create_app(settings, intake, forges, known, ready, routers=routers, lifespan=[connected])


class Server(uvicorn.Server):
    """Uvicorn, but for the signal that it sends itself at the end, which would take the worker's end away."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask to stop; a second one asks to stop at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


def serve(settings: Settings, *, work: bool = True) -> None:
    """Serve until told to stop; what is under way then is finished or taken up again by the next start."""
    worker = Worker(settings)
    if work:
        worker.start()
    try:
        Server(config(make_app(settings, worker.bell), host=settings.host, port=settings.port)).run()
    finally:
        worker.stop()


def config(app: Any, **where: Any) -> uvicorn.Config:
    """How the web application is served.

    Each answer ends its connection. A webhook that is sent on an idle one, at the moment or in the pause in which it is
    closed for being idle, is lost: no forge can know whether it may send that again.
    """
    return uvicorn.Config(
        app,
        **where,
        headers=[("connection", "close")],
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
