"""The ledger of heads: what Sluice knew of a branch or pull request, and since when."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word


class Head(Row, Base):
    """A head as received. `received_at` is our own clock at the delivery's receipt, never a commit's date."""

    __tablename__ = "heads"
    __table_args__ = (sa.Index(None, "repository_id", "kind", "name", "received_at"),)

    repository_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="CASCADE"), doc="The repository."
    )
    delivery_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deliveries.id", ondelete="SET NULL"),
        index=True,
        doc="The delivery that told; empty: read from the forge.",
    )
    kind: Mapped[str] = mapped_column(Word("branch", "pull_request"), doc="What has this head.")
    name: Mapped[str] = mapped_column(doc="The branch's name, or the pull request's number.")
    commit_hash: Mapped[str | None] = mapped_column(doc="The head; empty: deleted.")
    actor: Mapped[str] = mapped_column(doc="Who moved it: the login.")
    actor_id: Mapped[str | None] = mapped_column(doc="The forge's own id of that account; empty: read from the forge.")
    received_at: Mapped[datetime] = mapped_column(doc="When we heard, by our own clock, never a commit's date.")
