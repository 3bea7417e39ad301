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

    repository_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="RESTRICT"), doc="The repository."
    )
    project_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="SET NULL"), index=True, doc="The project that it was for."
    )
    run_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True, doc="The run that it was part of."
    )
    branch: Mapped[str] = mapped_column(doc="The branch that it went to.")
    base_commit: Mapped[str] = mapped_column(doc="The commit that was seen there before.")
    commit_hash: Mapped[str | None] = mapped_column(doc="The commit that was made; empty until it was.")
    files: Mapped[list[Any]] = mapped_column(default=list, doc="The paths that it changes.")
    message: Mapped[str] = mapped_column(doc="The commit's message.")
    author: Mapped[str] = mapped_column(doc="The commit's author.")
    status: Mapped[str] = mapped_column(
        Word("pending", "committed", "failed", "skipped"), default="pending", doc="What became of it."
    )
    conflict: Mapped[str] = mapped_column(
        Word("none", "rebased", "gave_up", "by_hand"),
        default="none",
        doc="How it went when somebody else had pushed meanwhile.",
    )
    error: Mapped[str | None] = mapped_column(doc="Why it failed.")
    attempts: Mapped[int] = mapped_column(default=0, doc="How often it was tried.")
    pull_request: Mapped[int | None] = mapped_column(doc="The request that proposes it.")
