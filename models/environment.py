"""Environments: places a project is deployed to."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row, Word, live_once


class Environment(Row, Base):
    """A place a project is deployed to; the workloads go to `target_namespace` of `cluster`."""

    __tablename__ = "environments"
    __table_args__ = (
        live_once("environments", "project_id", "name"),
        live_once("environments", "cluster", "target_namespace"),
        sa.Index(None, "project_id", "branch"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]
    type: Mapped[str] = mapped_column(Word("development", "staging", "production", "other"))
    branch: Mapped[str]
    path: Mapped[str]
    cluster: Mapped[str] = mapped_column(default="default")
    target_namespace: Mapped[str]
    gitops_resource_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("gitops_resources.id", ondelete="SET NULL", use_alter=True), index=True
    )
    position: Mapped[int] = mapped_column(default=0)  # the order people see
    last_number: Mapped[int] = mapped_column(default=0)  # of its deployments; taken in the same transaction
    cloud_provider: Mapped[str | None]
    region: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    deleted_at: Mapped[datetime | None]
