"""Deployments: one revision going to one environment."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from bot.core.deployments import PHASES
from models.base import Base, Leased, Word


class Deployment(Leased, Base):
    """One revision going to one environment, from request to exactly one terminal status.

    `number` grows by one in each environment and fences pin moves. `source_id` is the GitRepository that it goes by.
    The tokens are those of our reconcile requests; `failure_seen` marks a transient failure that was shown already.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        sa.UniqueConstraint("environment_id", "number"),
        sa.Index(None, "status", "due_at"),
        sa.Index(None, "commit_hash"),
    )

    gitops_resource_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("gitops_resources.id", ondelete="RESTRICT"), index=True
    )
    source_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("gitops_resources.id", ondelete="RESTRICT"), index=True)
    environment_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("environments.id", ondelete="RESTRICT"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True)
    number: Mapped[int]
    commit_hash: Mapped[str]
    deployment_method: Mapped[str] = mapped_column(Word("gitops", "manual"))
    trigger: Mapped[str] = mapped_column(Word("push", "enable", "deploy", "unpin"))
    pull_request: Mapped[int | None]
    requested_by: Mapped[str]
    status: Mapped[str] = mapped_column(Word(*PHASES))
    reason: Mapped[str | None]
    message: Mapped[str | None]
    live_revision: Mapped[str | None]  # the commit that it is live as part of, or was superseded by
    inputs_digest: Mapped[str]
    config_digest: Mapped[str]
    policy_digest: Mapped[str] = mapped_column(default="")
    source_token: Mapped[str | None]
    kustomization_token: Mapped[str | None]
    failure_seen: Mapped[str | None]
    deadline_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
