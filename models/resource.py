"""Flux objects that Sluice owns, and what Flux said of them last."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word, live_once


class GitopsResource(Row, Base):
    """One Flux object. A GitRepository without environment is shared by those that follow its branch."""

    __tablename__ = "gitops_resources"
    __table_args__ = (
        live_once("gitops_resources", "environment_id", "type"),
        live_once("gitops_resources", "cluster", "namespace", "type", "name"),
        sa.Index(None, "environment_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    environment_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("environments.id", ondelete="CASCADE"))
    repository_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="RESTRICT"), index=True
    )
    type: Mapped[str] = mapped_column(
        Word("git-repository", "kustomization", "helm-release", "helm-repository", "oci-repository")
    )
    cluster: Mapped[str]
    namespace: Mapped[str]
    name: Mapped[str]
    uid: Mapped[str | None]
    branch: Mapped[str | None]  # of a shared git-repository
    adopted: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    status: Mapped[str] = mapped_column(Word("pending", "ready", "reconciling", "stalled", "failed"), default="pending")
    status_reason: Mapped[str | None]
    status_message: Mapped[str | None]
    last_status_update_at: Mapped[datetime | None]
    last_applied_revision: Mapped[str | None]
    last_applied_at: Mapped[datetime | None]
    last_attempted_revision: Mapped[str | None]
    last_attempted_at: Mapped[datetime | None]
    error_message: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
