"""Notifications: what is to be said where, and what came of it."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from bot.core.deployments import PHASES
from models.base import Base, Leased, Word


class Notification(Leased, Base):
    """One commit status, or the one comment of a pull request, or a comment that answers or calls somebody, once.

    Statuses of one (repository, commit, context) are sent in the order of `sequence`. A comment has sequence 0, no
    text of its own (it is rendered when sent) and is sent again whenever `nudged` grew.
    `attempted_at` is committed before the forge is called: whoever finds it set looks at the forge before repeating.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        sa.UniqueConstraint("repository_id", "kind", "target", "context", "sequence"),
        sa.Index(None, "status", "due_at"),
    )

    kind: Mapped[str] = mapped_column(
        Word("status", "comment"), doc="A commit status, or a comment on a pull request or a commit."
    )
    repository_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="CASCADE"), doc="The repository."
    )
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deployments.id", ondelete="CASCADE"), index=True, doc="The deployment that a status is about."
    )
    target: Mapped[str] = mapped_column(doc="The commit, or the pull request's number.")
    context: Mapped[str] = mapped_column(
        default="", doc="The name of the status: sluice/<environment>; of an answer or a call, the run."
    )
    sequence: Mapped[int] = mapped_column(
        default=0, doc="The order in which statuses of one context are sent; 0 for comments."
    )
    phase: Mapped[str | None] = mapped_column(Word(*PHASES), doc="The deployment's phase that the status tells.")
    text: Mapped[str | None] = mapped_column(doc="The status's description; comments are rendered when they are sent.")
    status: Mapped[str] = mapped_column(
        Word("queued", "sent", "skipped", "failed"), default="queued", doc="What became of it."
    )
    reason: Mapped[str | None] = mapped_column(doc="Why it was not sent.")
    external_id: Mapped[str | None] = mapped_column(doc="The comment's id on the forge.")
    content_digest: Mapped[str | None] = mapped_column(doc="SHA-256 of the comment as it was sent last.")
    attempted_at: Mapped[datetime | None] = mapped_column(
        doc="Written before the forge is called: whoever finds it looks before repeating."
    )
    sent_at: Mapped[datetime | None] = mapped_column(doc="When the forge had it.")
