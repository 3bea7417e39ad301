"""Says whether the server lives and whether it can do its work."""

from collections.abc import Awaitable, Callable

from litestar import Router, get
from litestar.openapi import ResponseSpec

from bot.web.problems import Problem, ProblemDetails

Ready = Callable[[], Awaitable[str | None]]


def router(ready: Ready) -> Router:
    """The routes; `ready` gives None, or what is wrong."""

    @get("/healthz")
    async def healthz() -> dict[str, str]:
        """The server lives; this asks nobody else."""
        return {"status": "alive"}

    unready = ResponseSpec(ProblemDetails, description="what is wrong", generate_examples=False)

    @get("/readyz", responses={503: unready})
    async def readyz() -> dict[str, str]:
        """The server can do its work: the database is reachable and migrated."""
        reason = await ready()
        if reason is not None:
            raise Problem(503, "not_ready", reason, retry_after=5)
        return {"status": "ready"}

    return Router("/", route_handlers=[healthz, readyz], tags=["health"])
