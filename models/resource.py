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

    project_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True, doc="The project."
    )
    environment_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("environments.id", ondelete="CASCADE"),
        doc="The one environment that it is for; empty: shared by those that follow its branch.",
    )
    repository_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="RESTRICT"), index=True, doc="The repository that a source fetches."
    )
    type: Mapped[str] = mapped_column(
        Word("git-repository", "kustomization", "helm-release", "helm-repository", "oci-repository"),
        doc="The kind of object.",
    )
    cluster: Mapped[str] = mapped_column(doc="The cluster, by its name in the settings.")
    namespace: Mapped[str] = mapped_column(doc="Its namespace.")
    name: Mapped[str] = mapped_column(doc="Its name.")
    uid: Mapped[str | None] = mapped_column(doc="Kubernetes' own id of it: another object of this name is not it.")
    branch: Mapped[str | None] = mapped_column(doc="The branch that a shared source follows.")
    adopted: Mapped[bool] = mapped_column(
        default=False, server_default=sa.false(), doc="Whether it is somebody else's: it is read and never written."
    )
    config: Mapped[dict[str, Any]] = mapped_column(
        default=dict, doc="What was written into it, where that is more than its rows say."
    )
    status: Mapped[str] = mapped_column(
        Word("pending", "ready", "reconciling", "stalled", "failed"), default="pending", doc="What Flux makes of it."
    )
    status_reason: Mapped[str | None] = mapped_column(doc="Flux's reason, a word.")
    status_message: Mapped[str | None] = mapped_column(doc="Flux's text.")
    last_status_update_at: Mapped[datetime | None] = mapped_column(doc="When its status was last seen to change.")
    last_applied_revision: Mapped[str | None] = mapped_column(doc="The revision that Flux applied last.")
    last_applied_at: Mapped[datetime | None] = mapped_column(doc="When that was seen.")
    last_attempted_revision: Mapped[str | None] = mapped_column(doc="The revision that Flux tried last.")
    last_attempted_at: Mapped[datetime | None] = mapped_column(doc="When that was seen.")
    error_message: Mapped[str | None] = mapped_column(doc="Why it is not ready.")
    deleted_at: Mapped[datetime | None] = mapped_column(doc="When it was deleted from the cluster.")
