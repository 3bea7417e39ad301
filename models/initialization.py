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

    project_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="CASCADE"), doc="The project that is enabled."
    )
    run_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True, doc="The run that worked on the step last."
    )
    step: Mapped[str] = mapped_column(doc="The step's name in code; once in a project.")
    display_name: Mapped[str] = mapped_column(doc="The step's name for people.")
    sequence: Mapped[int] = mapped_column(doc="Its place in the order.")
    weight: Mapped[int] = mapped_column(doc="Its share of the whole.")
    status: Mapped[str] = mapped_column(
        Word("pending", "running", "completed", "failed"), default="pending", doc="How far it is."
    )
    progress: Mapped[int] = mapped_column(default=0, doc="Per cent, 0 to 100.")
    started_at: Mapped[datetime | None] = mapped_column(doc="When it was begun last.")
    completed_at: Mapped[datetime | None] = mapped_column(doc="When it was done.")
    duration_ms: Mapped[int | None] = mapped_column(doc="How long it took.")
    error: Mapped[str | None] = mapped_column(doc="Why it failed and what to do.")
    error_code: Mapped[str | None] = mapped_column(doc="The stable reason code of its failure.")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="What it found or made.")
