"""Repositories on a forge; no Flux state."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row


class Repository(Row, Base):
    """One Git repository. `forge_id` is the forge's own id: names change, ids do not."""

    __tablename__ = "repositories"
    __table_args__ = (sa.UniqueConstraint("provider", "forge_id"), sa.Index(None, "provider", "full_name"))

    organization_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("organizations.id", ondelete="RESTRICT"), index=True
    )
    provider: Mapped[str]
    forge_id: Mapped[str]
    full_name: Mapped[str]
    clone_url: Mapped[str]
    html_url: Mapped[str]
    default_branch: Mapped[str]
    private: Mapped[bool] = mapped_column(default=False)
