"""Environments: places a project is deployed to."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row


class Environment(Row, Base):
    """A place a project is deployed to; the workloads go to `target_namespace` of `cluster`."""

    __tablename__ = "environments"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "name"),
        sa.UniqueConstraint("cluster", "target_namespace"),
        sa.Index(None, "project_id", "branch"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id"))
    name: Mapped[str]
    type: Mapped[str]  # development | staging | production | other
    branch: Mapped[str]
    path: Mapped[str]
    cluster: Mapped[str] = mapped_column(default="default")
    target_namespace: Mapped[str]
    gitops_resource_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("gitops_resources.id", use_alter=True), index=True
    )
    position: Mapped[int] = mapped_column(default=0)  # the order people see
    last_number: Mapped[int] = mapped_column(default=0)  # of its deployments; taken in the same transaction
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
