"""The event log: rows written in the transaction of what they tell, so that it has no gaps."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from models import Environment, Project, UnifiedEvent
from models.base import now


def record(
    session: AsyncSession,
    action: str,
    *,
    event_type: str = "project",
    severity: str = "info",
    actor: str | None = None,
    user_id: UUID | None = None,
    organization_id: UUID | None = None,
    resource: tuple[str, UUID] | None = None,
    ip: str | None = None,
    user_agent: str | None = None,
    **details: Any,
) -> None:
    """Add one event; `resource` is (type, id), `details` is JSON. It is chained later (bot/store/chain.py)."""
    session.add(
        UnifiedEvent(
            created_at=now(),
            user_id=user_id,
            ip=ip,
            user_agent=user_agent,
            action=action,
            event_type=event_type,
            severity=severity,
            actor=actor,
            organization_id=organization_id,
            resource_type=resource[0] if resource else None,
            resource_id=resource[1] if resource else None,
            details=details,
        )
    )


def audit(
    session: AsyncSession,
    action: str,
    project: Project,
    environment: Environment,
    *,
    actor: str | None,
    resource: tuple[str, UUID],
    **details: Any,
) -> None:
    """What somebody did to what is in an environment, or what ended it."""
    record(
        session,
        action,
        event_type="audit",
        actor=actor,
        organization_id=project.organization_id,
        resource=resource,
        environment=environment.name,
        **details,
    )


def fields_taken(
    session: AsyncSession, project: Project, fields: Sequence[str], *, actor: str | None, resource: tuple[str, UUID]
) -> None:
    """An admin had fields forced that others own."""
    record(
        session,
        "gitops.fields.taken",
        event_type="audit",
        severity="warning",
        actor=actor,
        organization_id=project.organization_id,
        resource=resource,
        fields=list(fields),
    )
