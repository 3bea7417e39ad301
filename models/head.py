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

    repository_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("repositories.id", ondelete="CASCADE"))
    delivery_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("deliveries.id", ondelete="SET NULL"), index=True
    )
    kind: Mapped[str] = mapped_column(Word("branch", "pull_request"))
    name: Mapped[str]  # the branch's name, the pull request's number
    commit_hash: Mapped[str | None]  # None: deleted
    actor: Mapped[str]
    received_at: Mapped[datetime]
