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

    deployment_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("deployments.id", ondelete="CASCADE"), doc="The deployment."
    )
    user: Mapped[str] = mapped_column(doc="Whose voice it is: the login.")
    provider_account_id: Mapped[str] = mapped_column(doc="The forge's own id of the account; one live voice each.")
    verdict: Mapped[str] = mapped_column(Word("approved", "rejected"), doc="What was said.")
    commit_hash: Mapped[str] = mapped_column(doc="The commit that was looked at.")
    chain_digest: Mapped[str] = mapped_column(doc="SHA-256 of all that the deployment was bound to then.")
    role: Mapped[str] = mapped_column(
        Word("viewer", "deployer", "approver", "admin"), doc="The person's role at that moment."
    )
    reason: Mapped[str | None] = mapped_column(doc="Why, in the person's words.")
    run_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True, doc="The run of the command."
    )
    voided_at: Mapped[datetime | None] = mapped_column(doc="When it stopped to count.")
    void_reason: Mapped[str | None] = mapped_column(doc="Why it stopped to count.")
