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
        sa.Index(None, "pull_request"),
    )

    environment_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("environments.id", ondelete="CASCADE"), doc="The environment; one held lock each."
    )
    owner: Mapped[str] = mapped_column(doc="Who keeps it or waits for it: the login.")
    owner_id: Mapped[str] = mapped_column(default="", doc="The forge's own id of that account; empty: an operator.")
    pull_request: Mapped[int | None] = mapped_column(doc="The request that it was claimed on; it ends with it.")
    reason: Mapped[str | None] = mapped_column(doc="Why, in the owner's words.")
    position: Mapped[int] = mapped_column(default=0, doc="The place in the line.")
    status: Mapped[str] = mapped_column(
        Word("waiting", "held", "released", "expired"), default="waiting", doc="Whether it is held."
    )
    claimed_at: Mapped[datetime | None] = mapped_column(doc="Since when it is held.")
    expires_at: Mapped[datetime | None] = mapped_column(doc="When it ends by itself.")
    released_at: Mapped[datetime | None] = mapped_column(doc="When it was given back.")
    released_run_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True, doc="The run of the /unlock that gave it back."
    )


class Hold(Row, Base):
    """An environment stays at what it has, as after a rollback, until somebody resumes it; one at a time is live."""

    __tablename__ = "holds"
    __table_args__ = (
        live_once("holds", "environment_id", where="ended_at IS NULL"),
        sa.Index(None, "environment_id"),
    )

    environment_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("environments.id", ondelete="CASCADE"), doc="The environment; one live hold each."
    )
    set_by: Mapped[str] = mapped_column(doc="Who set it.")
    pull_request: Mapped[int | None] = mapped_column(doc="The request that it was set on.")
    reason: Mapped[str | None] = mapped_column(doc="Why, in that person's words.")
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deployments.id", ondelete="SET NULL"),
        index=True,
        doc="The deployment that set it, as a rollback does.",
    )
    ended_at: Mapped[datetime | None] = mapped_column(doc="When it was ended.")
    ended_by: Mapped[str | None] = mapped_column(doc="Who ended it.")
