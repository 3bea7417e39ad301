"""Locks and holds: what keeps others, or the next push, out of an environment."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word, live_once


class Lock(Row, Base):
    """Somebody keeps an environment for themselves, or waits in line for it; one at a time holds it."""

    __tablename__ = "locks"
    __table_args__ = (
        live_once("locks", "environment_id", where="status = 'held'", name="held"),
        sa.Index(None, "environment_id", "status", "position"),
        sa.Index(None, "status", "expires_at"),
    )

    environment_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("environments.id", ondelete="CASCADE"))
    owner: Mapped[str]
    reason: Mapped[str | None]
    position: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(Word("waiting", "held", "released", "expired"), default="waiting")
    claimed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]


class Hold(Row, Base):
    """An environment stays at what it has, as after a rollback, until somebody resumes it; one at a time is live."""

    __tablename__ = "holds"
    __table_args__ = (
        live_once("holds", "environment_id", where="ended_at IS NULL"),
        sa.Index(None, "environment_id"),
    )

    environment_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("environments.id", ondelete="CASCADE"))
    set_by: Mapped[str]
    reason: Mapped[str | None]
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deployments.id", ondelete="SET NULL"), index=True
    )
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
