"""The event log: append-only, written in the transaction of what it tells."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class UnifiedEvent(Row, Base):
    """One thing that happened."""

    __tablename__ = "unified_events"
    __table_args__ = (
        sa.Index(None, "resource_type", "resource_id"),
        sa.Index(None, "created_at"),
        sa.UniqueConstraint("sequence"),
        sa.Index(
            "ix_unified_events_unchained",
            "created_at",
            "id",
            sqlite_where=sa.text("sequence IS NULL"),
            postgresql_where=sa.text("sequence IS NULL"),
        ),
    )

    event_type: Mapped[str] = mapped_column(Word("audit", "project", "system"))
    action: Mapped[str]
    severity: Mapped[str] = mapped_column(Word("info", "warning", "error", "critical"), default="info")
    actor: Mapped[str | None]
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)
    organization_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("organizations.id", ondelete="RESTRICT"), index=True
    )
    resource_type: Mapped[str | None]
    resource_id: Mapped[uuid.UUID | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]
    sequence: Mapped[int | None] = mapped_column(sa.BigInteger)
    previous_hash: Mapped[str | None]
    hash: Mapped[str | None]


class Checkpoint(Row, Base):
    """What a purge of the event log leaves: the last hash before it, signed, so that the rest can still be checked."""

    __tablename__ = "checkpoints"
    __table_args__ = (sa.UniqueConstraint("sequence"),)

    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    hash: Mapped[str]
    key_id: Mapped[str]
    signature: Mapped[str]
    purged_until: Mapped[datetime | None]
