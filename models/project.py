"""Projects: deployable things in a repository."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row


class Project(Row, Base):
    """One deployable thing. `namespace` holds its Flux objects and is unique in its cluster."""

    __tablename__ = "projects"
    __table_args__ = (sa.UniqueConstraint("repository_id", "slug"), sa.UniqueConstraint("namespace"))

    organization_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("organizations.id"), index=True)
    repository_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("repositories.id"))
    name: Mapped[str]
    slug: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    namespace: Mapped[str]
    status: Mapped[str] = mapped_column(default="initializing")  # initializing | active | failed
    initialization_job_id: Mapped[uuid.UUID | None]
    initialization_started_at: Mapped[datetime | None]
    initialization_completed_at: Mapped[datetime | None]
    initialization_error: Mapped[str | None]
