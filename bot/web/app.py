"""The web application."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components

from bot.settings import Settings
from bot.web import deployments, health, problems, webhooks
from bot.web.access import AccessLog
from bot.web.bodies import Limits
from bot.web.health import Ready
from bot.web.webhooks import KnownHook, Receiver, Recorder, Verifier

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


class RunningRecorder(Recorder, Protocol):
    """A recorder that works from start to stop."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def create_app(
    settings: Settings,
    intake: RunningRecorder,
    forges: Mapping[str, Verifier],
    known_hook: KnownHook,
    ready: Ready,
    *,
    routers: Sequence[Router] = (),
    limits: Limits | None = None,
    lifespan: Sequence[Lifespan] = (),
) -> Litestar:
    """The application; it starts and stops the intake. `routers` and `lifespan` come on top."""

    @asynccontextmanager
    async def keeping(app: Litestar) -> AsyncIterator[None]:
        await intake.start()
        try:
            yield
        finally:
            await intake.stop()

    receiver = Receiver(settings, intake, forges, known_hook, limits or Limits())
    return Litestar(
        route_handlers=[webhooks.router(receiver), health.router(ready), *routers],
        middleware=[AccessLog()],
        exception_handlers=problems.HANDLERS,
        lifespan=[keeping, *lifespan],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Sluice",
            version=_version(),
            description="The gate between pull requests and Flux.",
            path="/schema",
            components=Components(security_schemes={"bearer": deployments.BEARER}),
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        ),
    )


def _version() -> str:
    try:
        return version("sluice")
    except PackageNotFoundError:  # from a checkout
        return "0"
