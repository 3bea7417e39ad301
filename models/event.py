"""The event log: append-only, written in the transaction of what it tells."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row


class UnifiedEvent(Row, Base):
    """One thing that happened."""

    __tablename__ = "unified_events"
    __table_args__ = (sa.Index(None, "resource_type", "resource_id"), sa.Index(None, "created_at"))

    event_type: Mapped[str]  # audit | project | system
    action: Mapped[str]
    severity: Mapped[str] = mapped_column(default="info")
    actor: Mapped[str | None]
    organization_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("organizations.id"), index=True)
    resource_type: Mapped[str | None]
    resource_id: Mapped[uuid.UUID | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
