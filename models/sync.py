"""Commits that the bot made, or tried to make."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class GitSyncLog(Row, Base):
    """One commit to a repository by the bot; `conflict` says how it went when somebody else had pushed meanwhile."""

    __tablename__ = "git_sync_logs"
    __table_args__ = (sa.Index(None, "repository_id", "branch"), sa.Index(None, "created_at"))

    repository_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("repositories.id", ondelete="RESTRICT"))
    project_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("projects.id", ondelete="SET NULL"), index=True)
    run_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    branch: Mapped[str]
    base_commit: Mapped[str]
    commit_hash: Mapped[str | None]
    files: Mapped[list[Any]] = mapped_column(default=list)
    message: Mapped[str]
    author: Mapped[str]
    status: Mapped[str] = mapped_column(Word("pending", "committed", "failed", "skipped"), default="pending")
    conflict: Mapped[str] = mapped_column(Word("none", "rebased", "gave_up", "by_hand"), default="none")
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    pull_request: Mapped[int | None]
