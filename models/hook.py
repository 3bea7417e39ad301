"""Webhooks that Sluice registered itself; each speaks for its repository only."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class Hook(Row, Base):
    """A registered webhook. Its URL carries `id`; its secret derives from the master key and `id`, and is not kept."""

    __tablename__ = "hooks"

    repository_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="CASCADE"), unique=True, doc="The one repository that it speaks for."
    )
    forge_hook_id: Mapped[str | None] = mapped_column(doc="The forge's id of it; empty until it is registered.")
    status: Mapped[str] = mapped_column(
        Word("registering", "active"), default="registering", doc="Whether the forge has it already."
    )
