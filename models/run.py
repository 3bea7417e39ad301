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

    key: Mapped[str] = mapped_column(doc="Derives from the event, so that an event is worked once.")
    repository_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="RESTRICT"), doc="The repository."
    )
    delivery_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deliveries.id", ondelete="SET NULL"), index=True, doc="The delivery that it came from."
    )
    name: Mapped[str] = mapped_column(doc="The command, or the work.")
    call: Mapped[dict[str, Any]] = mapped_column(doc="What is to be carried out, with all arguments.")
    pull_request: Mapped[int | None] = mapped_column(doc="The request that it answers on.")
    actor: Mapped[str] = mapped_column(doc="Who caused it.")
    received_at: Mapped[datetime] = mapped_column(doc="When the delivery came.")
    status: Mapped[str] = mapped_column(
        Word("queued", "done", "refused", "ignored", "failed"), default="queued", doc="What became of it."
    )
    code: Mapped[str | None] = mapped_column(doc="The stable reason code of a refusal.")
    text: Mapped[str | None] = mapped_column(doc="What people are told.")
    finished_at: Mapped[datetime | None] = mapped_column(doc="When it ended.")
