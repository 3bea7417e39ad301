"""Runs: the units of work and of retry."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Leased, Word


class Run(Leased, Base):
    """One command or one push to carry out; its id derives from the event, so an event is worked once."""

    __tablename__ = "runs"
    __table_args__ = (
        sa.UniqueConstraint("key"),
        sa.Index(None, "status", "due_at"),
        sa.Index(None, "repository_id", "pull_request", "received_at"),
    )

    key: Mapped[str]
    repository_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("repositories.id", ondelete="RESTRICT"))
    delivery_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deliveries.id", ondelete="SET NULL"), index=True
    )
    name: Mapped[str]
    call: Mapped[dict[str, Any]]
    pull_request: Mapped[int | None]
    actor: Mapped[str]
    received_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(Word("queued", "done", "refused", "ignored", "failed"), default="queued")
    code: Mapped[str | None]
    text: Mapped[str | None]
    finished_at: Mapped[datetime | None]
