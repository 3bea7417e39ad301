"""The steps of enabling a project."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class ProjectInitializationStep(Row, Base):
    """One step of enabling a project, and how far it is. A step that failed says why and what to do."""

    __tablename__ = "project_initialization_steps"
    __table_args__ = (sa.UniqueConstraint("project_id", "step"),)

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    step: Mapped[str]
    display_name: Mapped[str]
    sequence: Mapped[int]
    weight: Mapped[int]
    status: Mapped[str] = mapped_column(Word("pending", "running", "completed", "failed"), default="pending")
    progress: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]
    error: Mapped[str | None]
    error_code: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
