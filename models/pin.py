"""Pins: environments that follow exactly one commit."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, live_once


class Pin(Row, Base):
    """An environment follows one commit until `ended_at`; at most one pin of an environment is live."""

    __tablename__ = "pins"
    __table_args__ = (
        live_once("pins", "environment_id", where="ended_at IS NULL"),
        sa.Index(None, "environment_id"),
        sa.Index(None, "pull_request"),
    )

    environment_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("environments.id", ondelete="CASCADE"), doc="The environment; one live pin each."
    )
    source_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("gitops_resources.id", ondelete="RESTRICT"),
        index=True,
        doc="The GitRepository that says the commit.",
    )
    pull_request: Mapped[int | None] = mapped_column(doc="The request whose head it is; the pin ends with it.")
    branch: Mapped[str] = mapped_column(doc="The branch by which Flux reaches the commit.")
    commit_hash: Mapped[str] = mapped_column(doc="The commit.")
    number: Mapped[int] = mapped_column(doc="The number of the deployment that moved it last.")
    pinned_by: Mapped[str] = mapped_column(doc="Who asked for it.")
    ended_at: Mapped[datetime | None] = mapped_column(doc="When the environment followed its branch again.")
