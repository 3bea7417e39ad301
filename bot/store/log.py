"""The event log: rows written in the transaction of what they tell, so that it has no gaps."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from models import UnifiedEvent


def record(
    session: AsyncSession,
    action: str,
    *,
    event_type: str = "project",
    severity: str = "info",
    actor: str | None = None,
    organization_id: UUID | None = None,
    resource: tuple[str, UUID] | None = None,
    **details: Any,
) -> None:
    """Add one event; `resource` is (type, id), `details` is JSON."""
    session.add(
        UnifiedEvent(
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
