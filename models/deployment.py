"""Deployments: one revision going to one environment."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from bot.core.deployments import PHASES
from models.base import Base, Leased, Word, live_once


class Deployment(Leased, Base):
    """One revision going to one environment, from request to exactly one terminal status.

    `number` grows by one in each environment and fences pin moves. `source_id` is the GitRepository that it goes by.
    The tokens are those of our reconcile requests; `failure_seen` marks a transient failure that was shown already.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        sa.UniqueConstraint("environment_id", "number"),
        live_once("deployments", "environment_id", where="status = 'waiting'", name="waiting"),
        sa.Index(None, "status", "due_at"),
        sa.Index(None, "pull_request", "status"),
        sa.Index(None, "commit_hash"),
    )

    gitops_resource_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("gitops_resources.id", ondelete="RESTRICT"),
        index=True,
        doc="The Kustomization or HelmRelease that applies it.",
    )
    source_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("gitops_resources.id", ondelete="RESTRICT"), index=True, doc="The GitRepository that it goes by."
    )
    environment_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("environments.id", ondelete="RESTRICT"), doc="Where it goes."
    )
    run_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("runs.id", ondelete="SET NULL"), index=True, doc="The run that opened it."
    )
    number: Mapped[int] = mapped_column(doc="Grows by one in each environment and fences moves of the pin.")
    commit_hash: Mapped[str] = mapped_column(doc="The revision.")
    deployment_method: Mapped[str] = mapped_column(
        Word("gitops", "manual"), doc="Whether a push brought it or somebody asked."
    )
    trigger: Mapped[str] = mapped_column(
        Word("push", "enable", "deploy", "unpin", "rollback", "promote", "resume", "lock"), doc="What brought it."
    )
    pull_request: Mapped[int | None] = mapped_column(
        doc="The request that it was asked for on, or that brought it to the branch."
    )
    requested_by: Mapped[str] = mapped_column(doc="Who pushed it or asked for it: the login.")
    requested_by_id: Mapped[str | None] = mapped_column(
        doc="The forge's own id of that account; empty: Sluice itself or an operator."
    )
    branch: Mapped[str | None] = mapped_column(
        doc="The branch by which Flux reaches the commit; empty: the environment's own."
    )
    base_branch: Mapped[str | None] = mapped_column(
        doc="Where the request was to be merged when it was asked for; another base ends what waits."
    )
    base_commit: Mapped[str | None] = mapped_column(doc="The head of that branch then: recorded, not compared.")
    config_commit: Mapped[str | None] = mapped_column(
        doc="The head of the default branch whose configuration was read: recorded, not compared."
    )
    prunes: Mapped[list[Any] | None] = mapped_column(
        sa.JSON(none_as_null=True),
        doc="The volumes, namespaces and definitions of which who asked for it confirmed that they go.",
    )
    take_over: Mapped[list[Any] | None] = mapped_column(
        sa.JSON(none_as_null=True),
        doc="The fields of others that it took over, by manager; none: an admin said that it may; null: nobody did.",
    )
    status: Mapped[str] = mapped_column(
        Word(*PHASES), doc="The phase; the last six are terminal, and it ends in exactly one of them."
    )
    reason: Mapped[str | None] = mapped_column(doc="The stable reason code of its end.")
    message: Mapped[str | None] = mapped_column(doc="What people are told of its state.")
    live_revision: Mapped[str | None] = mapped_column(
        doc="The commit that it is live as part of, or was superseded by."
    )
    inputs_digest: Mapped[str] = mapped_column(doc="SHA-256 of all that its environment reads at this commit.")
    config_digest: Mapped[str] = mapped_column(doc="SHA-256 of its environment's configuration.")
    policy_digest: Mapped[str] = mapped_column(default="", doc="SHA-256 of the operator's policy.")
    chain_digest: Mapped[str] = mapped_column(
        default="", doc="SHA-256 of the commit and these three: what approvals are given to."
    )
    gates: Mapped[list[Any] | None] = mapped_column(
        sa.JSON(none_as_null=True), doc="The last verdict: each gate with pass or fail and why."
    )
    approved_at: Mapped[datetime | None] = mapped_column(doc="When every gate let it go.")
    source_token: Mapped[str | None] = mapped_column(doc="The token of our reconcile request to the source.")
    kustomization_token: Mapped[str | None] = mapped_column(
        doc="The token of our reconcile request to the Kustomization."
    )
    failure_seen: Mapped[str | None] = mapped_column(doc="A failure that may pass, and was shown already.")
    deadline_at: Mapped[datetime | None] = mapped_column(doc="When it is given up.")
    started_at: Mapped[datetime | None] = mapped_column(doc="When it left the queue.")
    finished_at: Mapped[datetime | None] = mapped_column(doc="When it ended.")

    @property
    def begun_at(self) -> datetime:
        """Since when it is on its way: what waited for somebody until then was nobody's trouble."""
        return self.approved_at or self.created_at
