"""What was deployed where, and which gates let it go or keep it: for programs, to read."""

import secrets
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, Router, get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import SecurityScheme
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import reasons
from bot.core.errors import UserError
from bot.core.reasons import Reason
from bot.store import deployments, repositories
from bot.store.database import Database
from bot.store.deployments import Place
from bot.targets import matching, places
from bot.web.problems import Problem, ProblemDetails
from models import Deployment

PAGE = 50
BEARER = SecurityScheme(type="http", scheme="bearer", description="SLUICE_API_TOKEN of the server's settings")
NO_STORE = {"cache-control": "no-store"}


class DeploymentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment; `gates` is the tree that its comment and `/why` showed when it was judged last."""

    id: UUID
    repository: str
    project: str
    environment: str
    number: int
    commit: str
    status: str
    outcome: str
    gates: tuple[Reason, ...]
    code: str | None
    message: str | None
    trigger: str
    requested_by: str
    pull_request: int | None
    live_revision: str | None
    created_at: datetime
    approved_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


def router(database: Database, token: str) -> Router:
    """The routes, for who has the token."""

    async def guard(request: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), token.encode()):
            raise Problem(401, "token_invalid", "send the header Authorization: Bearer and the server's API token")

    @get("/deployments", summary="The deployments of an environment, newest first", responses=_problems(400, 401, 404))
    async def listed(
        repository: Annotated[str, QueryParameter(description="owner/name", max_length=300)],
        environment: Annotated[str, QueryParameter(description="[project/]environment", max_length=300)],
        forge: Annotated[str | None, QueryParameter(description="where several have it", max_length=20)] = None,
        page: Annotated[int, QueryParameter(description=f"of {PAGE}, newest first", ge=1, le=10_000)] = 1,
    ) -> Response[list[DeploymentDetails]]:
        """The deployments of an environment."""
        async with database.read() as session:
            where = await _place(session, repository, environment, forge)
            rows = await deployments.latest(session, where.environment.id, limit=PAGE, offset=(page - 1) * PAGE)
            return Response([_told(where, row) for row in rows], headers=NO_STORE)

    @get("/deployments/{id:uuid}", summary="One deployment", responses=_problems(401, 404))
    async def one(id: FromPath[UUID]) -> Response[DeploymentDetails]:
        """One deployment."""
        async with database.read() as session:
            row = await session.get(Deployment, id)
            if row is None:
                raise Problem(404, "deployment_unknown", "there is no such deployment")
            return Response(_told(await deployments.place(session, row.environment_id), row), headers=NO_STORE)

    return Router(
        "/api/v1",
        route_handlers=[listed, one],
        guards=[guard],
        tags=["deployments"],
        security=[{"bearer": []}],
    )


def _problems(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        each: ResponseSpec(ProblemDetails, description="what is wrong", generate_examples=False) for each in statuses
    }


async def _place(session: AsyncSession, repository: str, environment: str, forge: str | None) -> Place:
    try:
        found = matching(await places(session, await repositories.named(session, repository, forge)), environment)
    except UserError as error:
        raise Problem(400 if error.code == "target_ambiguous" else 404, error.code, error.message) from error
    if len(found) > 1:
        named = ", ".join(where.title for where in found)
        raise Problem(400, "target_ambiguous", f"this is in several projects; say which: {named}")
    return found[0]


def _told(where: Place, row: Deployment) -> DeploymentDetails:
    verdict = reasons.from_json(row.gates)
    return DeploymentDetails(
        id=row.id,
        repository=where.repository.full_name,
        project=where.project.slug,
        environment=where.environment.name,
        number=row.number,
        commit=row.commit_hash,
        status=row.status,
        outcome=verdict.outcome,
        gates=verdict.reasons,
        code=row.reason,
        message=row.message,
        trigger=row.trigger,
        requested_by=row.requested_by,
        pull_request=row.pull_request,
        live_revision=row.live_revision,
        created_at=row.created_at,
        approved_at=row.approved_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
