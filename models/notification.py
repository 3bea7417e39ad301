"""Notifications: what is to be said where, and what came of it."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from bot.core.deployments import PHASES
from models.base import Base, Leased, Word


class Notification(Leased, Base):
    """One commit status, or the one comment of a pull request.

    Statuses of one (repository, commit, context) are sent in the order of `sequence`. A comment has sequence 0, no
    text of its own (it is rendered when sent) and is sent again whenever `nudged` grew.
    `attempted_at` is committed before the forge is called: whoever finds it set looks at the forge before repeating.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        sa.UniqueConstraint("repository_id", "kind", "target", "context", "sequence"),
        sa.Index(None, "status", "due_at"),
    )

    kind: Mapped[str] = mapped_column(Word("status", "comment"))
    repository_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("repositories.id", ondelete="CASCADE"))
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deployments.id", ondelete="CASCADE"), index=True
    )
    target: Mapped[str]  # the commit, or the pull request's number
    context: Mapped[str] = mapped_column(default="")
    sequence: Mapped[int] = mapped_column(default=0)
    phase: Mapped[str | None] = mapped_column(Word(*PHASES))
    text: Mapped[str | None]
    status: Mapped[str] = mapped_column(Word("queued", "sent", "skipped", "failed"), default="queued")
    reason: Mapped[str | None]
    external_id: Mapped[str | None]  # the comment's id on the forge
    content_digest: Mapped[str | None]
    attempted_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
