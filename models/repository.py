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
        sa.ForeignKey("organizations.id", ondelete="RESTRICT"), index=True, doc="Its owner."
    )
    provider: Mapped[str] = mapped_column(doc="The forge.")
    forge_id: Mapped[str] = mapped_column(doc="The forge's own id of it: names change, ids do not.")
    full_name: Mapped[str] = mapped_column(doc="The name in the forge's addresses: owner/name.")
    clone_url: Mapped[str] = mapped_column(doc="Where Git clones it from.")
    html_url: Mapped[str] = mapped_column(doc="Where people look at it.")
    default_branch: Mapped[str] = mapped_column(doc="The branch whose configuration counts.")
    private: Mapped[bool] = mapped_column(default=False, doc="Whether fetching it needs credentials.")
