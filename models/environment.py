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

    project_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), doc="The project.")
    name: Mapped[str] = mapped_column(doc="Its name in commands; once among a project's live environments.")
    type: Mapped[str] = mapped_column(Word("development", "staging", "production", "other"), doc="What it is for.")
    branch: Mapped[str] = mapped_column(doc="The branch that it follows.")
    path: Mapped[str] = mapped_column(doc="The folder that Flux applies.")
    cluster: Mapped[str] = mapped_column(default="default", doc="The cluster, by its name in the settings.")
    target_namespace: Mapped[str] = mapped_column(
        doc="Where the workloads go; once in a cluster among live environments."
    )
    gitops_resource_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("gitops_resources.id", ondelete="SET NULL", use_alter=True),
        index=True,
        doc="Its Kustomization or HelmRelease; empty until it is enabled.",
    )
    position: Mapped[int] = mapped_column(default=0, doc="Its place in the order that people see.")
    last_number: Mapped[int] = mapped_column(
        default=0, doc="The number of its newest deployment, taken in the same transaction."
    )
    cloud_provider: Mapped[str | None] = mapped_column(doc="Where the cluster runs.")
    region: Mapped[str | None] = mapped_column(doc="The part of the world that it runs in.")
    config: Mapped[dict[str, Any]] = mapped_column(
        default=dict, doc="What the configuration says of it: interval, timeout, account, approvals and so on."
    )
    deleted_at: Mapped[datetime | None] = mapped_column(
        doc="When it was deleted; such an environment is found by nobody."
    )
