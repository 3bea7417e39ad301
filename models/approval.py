"""Approvals: one person's voice on one deployment."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word, live_once


class Approval(Row, Base):
    """A voice on a deployment as it was then: `chain_digest` says of what; when that moves, the voice is void."""

    __tablename__ = "approvals"
    __table_args__ = (
        live_once("approvals", "deployment_id", "provider_account_id", where="voided_at IS NULL"),
        sa.Index(None, "deployment_id"),
    )

    deployment_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("deployments.id", ondelete="CASCADE"))
    user: Mapped[str]
    provider_account_id: Mapped[str]
    verdict: Mapped[str] = mapped_column(Word("approved", "rejected"))
    commit_hash: Mapped[str]
    chain_digest: Mapped[str]
    role: Mapped[str] = mapped_column(Word("viewer", "deployer", "approver", "admin"))
    reason: Mapped[str | None]
    run_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
