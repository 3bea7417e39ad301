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
        sa.ForeignKey("organizations.id", ondelete="RESTRICT"), index=True
    )
    repository_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("repositories.id", ondelete="RESTRICT"))
    name: Mapped[str]
    slug: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    namespace: Mapped[str]
    status: Mapped[str] = mapped_column(
        Word("initializing", "active", "failed", "disabling", "disabled"), default="initializing"
    )
    initialization_job_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True
    )
    initialization_started_at: Mapped[datetime | None]
    initialization_completed_at: Mapped[datetime | None]
    initialization_error: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
