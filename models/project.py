"""Projects: deployable things in a repository."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word, live_once


class Project(Row, Base):
    """One deployable thing. `namespace` holds its Flux objects and is unique in its cluster."""

    __tablename__ = "projects"
    __table_args__ = (
        live_once("projects", "repository_id", "slug"),
        live_once("projects", "namespace"),
        sa.Index(None, "repository_id"),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("organizations.id", ondelete="RESTRICT"), index=True, doc="Whose it is."
    )
    repository_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="RESTRICT"), doc="Where it lies."
    )
    name: Mapped[str] = mapped_column(doc="The name that people read.")
    slug: Mapped[str] = mapped_column(doc="The name in commands and contexts; once among a repository's live projects.")
    description: Mapped[str] = mapped_column(default="", doc="What it is, in a sentence.")
    namespace: Mapped[str] = mapped_column(doc="The namespace of its Flux objects; once among live projects.")
    status: Mapped[str] = mapped_column(
        Word("initializing", "active", "failed", "disabling", "disabled"),
        default="initializing",
        doc="Whether it is enabled.",
    )
    initialization_job_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True, doc="The run that enabled it last."
    )
    initialization_started_at: Mapped[datetime | None] = mapped_column(doc="When that run began.")
    initialization_completed_at: Mapped[datetime | None] = mapped_column(doc="When it ended well.")
    initialization_error: Mapped[str | None] = mapped_column(doc="Why it did not end well.")
    deleted_at: Mapped[datetime | None] = mapped_column(doc="When it was deleted; such a project is found by nobody.")
