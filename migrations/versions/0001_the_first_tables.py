"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CIRCLE = "fk_environments_gitops_resource_id_gitops_resources"  # the two tables point at each other


def upgrade() -> None:
    _deliveries()
    _organizations()
    _repositories()
    _unified_events()
    _heads()
    _hooks()
    _projects()
    _runs()
    _environments()
    _gitops_resources()
    _gitops_resources_indexes()
    _deployments()
    _deployments_indexes()
    _pins()
    _notifications()
    with op.batch_alter_table("environments") as table:
        table.create_foreign_key(op.f(CIRCLE), "gitops_resources", ["gitops_resource_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("environments") as table:
        table.drop_constraint(op.f(CIRCLE), type_="foreignkey")
    op.drop_table("notifications")
    op.drop_table("pins")
    op.drop_table("deployments")
    op.drop_table("gitops_resources")
    op.drop_table("environments")
    op.drop_table("runs")
    op.drop_table("projects")
    op.drop_table("hooks")
    op.drop_table("heads")
    op.drop_table("unified_events")
    op.drop_table("repositories")
    op.drop_table("organizations")
    op.drop_table("deliveries")


def _row() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    ]


def _leased() -> list[sa.Column[Any]]:
    return [
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("nudged", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
    ]


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("hook_id", sa.Uuid(), nullable=True),
        sa.Column("delivery_key", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        *_leased(),
        *_row(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("provider", "delivery_key", name=op.f("uq_deliveries_provider_delivery_key")),
    )
    op.create_index(op.f("ix_deliveries_received_at"), "deliveries", ["received_at"])
    op.create_index(op.f("ix_deliveries_status_due_at"), "deliveries", ["status", "due_at"])


def _organizations() -> None:
    op.create_table(
        "organizations",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        *_row(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
        sa.UniqueConstraint("provider", "name", name=op.f("uq_organizations_provider_name")),
    )


def _repositories() -> None:
    op.create_table(
        "repositories",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("forge_id", sa.Text(), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False),
        sa.Column("clone_url", sa.Text(), nullable=False),
        sa.Column("html_url", sa.Text(), nullable=False),
        sa.Column("default_branch", sa.Text(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        *_row(),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_repositories_organization_id_organizations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("provider", "forge_id", name=op.f("uq_repositories_provider_forge_id")),
    )
    op.create_index(op.f("ix_repositories_organization_id"), "repositories", ["organization_id"])
    op.create_index(op.f("ix_repositories_provider_full_name"), "repositories", ["provider", "full_name"])


def _unified_events() -> None:
    op.create_table(
        "unified_events",
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("resource_type", sa.Text(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        *_row(),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_unified_events_organization_id_organizations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unified_events")),
    )
    op.create_index(op.f("ix_unified_events_created_at"), "unified_events", ["created_at"])
    op.create_index(op.f("ix_unified_events_organization_id"), "unified_events", ["organization_id"])
    op.create_index(
        op.f("ix_unified_events_resource_type_resource_id"), "unified_events", ["resource_type", "resource_id"]
    )


def _heads() -> None:
    op.create_table(
        "heads",
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("commit_hash", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        *_row(),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_heads_delivery_id_deliveries"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_heads_repository_id_repositories")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heads")),
    )
    op.create_index(op.f("ix_heads_delivery_id"), "heads", ["delivery_id"])
    op.create_index(
        op.f("ix_heads_repository_id_kind_name_received_at"), "heads", ["repository_id", "kind", "name", "received_at"]
    )


def _hooks() -> None:
    op.create_table(
        "hooks",
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("forge_hook_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        *_row(),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_hooks_repository_id_repositories")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hooks")),
        sa.UniqueConstraint("repository_id", name=op.f("uq_hooks_repository_id")),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("initialization_job_id", sa.Uuid(), nullable=True),
        sa.Column("initialization_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("initialization_completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("initialization_error", sa.Text(), nullable=True),
        *_row(),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_projects_organization_id_organizations")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_projects_repository_id_repositories")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("namespace", name=op.f("uq_projects_namespace")),
        sa.UniqueConstraint("repository_id", "slug", name=op.f("uq_projects_repository_id_slug")),
    )
    op.create_index(op.f("ix_projects_organization_id"), "projects", ["organization_id"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("call", sa.JSON(), nullable=False),
        sa.Column("pull_request", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        *_leased(),
        *_row(),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_runs_delivery_id_deliveries"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_runs_repository_id_repositories")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("key", name=op.f("uq_runs_key")),
    )
    op.create_index(op.f("ix_runs_delivery_id"), "runs", ["delivery_id"])
    op.create_index(
        op.f("ix_runs_repository_id_pull_request_received_at"), "runs", ["repository_id", "pull_request", "received_at"]
    )
    op.create_index(op.f("ix_runs_status_due_at"), "runs", ["status", "due_at"])


def _environments() -> None:
    op.create_table(
        "environments",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("target_namespace", sa.Text(), nullable=False),
        sa.Column("gitops_resource_id", sa.Uuid(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        *_row(),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_environments_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("cluster", "target_namespace", name=op.f("uq_environments_cluster_target_namespace")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_environments_project_id_name")),
    )
    op.create_index(op.f("ix_environments_gitops_resource_id"), "environments", ["gitops_resource_id"])
    op.create_index(op.f("ix_environments_project_id_branch"), "environments", ["project_id", "branch"])


def _gitops_resources() -> None:
    op.create_table(
        "gitops_resources",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        sa.Column("repository_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("status_message", sa.Text(), nullable=True),
        sa.Column("last_status_update_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_applied_revision", sa.Text(), nullable=True),
        sa.Column("last_applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_attempted_revision", sa.Text(), nullable=True),
        sa.Column("last_attempted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name=op.f("fk_gitops_resources_environment_id_environments")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_gitops_resources_project_id_projects")),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_gitops_resources_repository_id_repositories")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gitops_resources")),
    )


def _gitops_resources_indexes() -> None:
    op.create_index(op.f("ix_gitops_resources_project_id"), "gitops_resources", ["project_id"])
    op.create_index(op.f("ix_gitops_resources_repository_id"), "gitops_resources", ["repository_id"])
    op.create_index(
        "uq_gitops_resources_environment_id_type_live",
        "gitops_resources",
        ["environment_id", "type"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "uq_gitops_resources_object_live",
        "gitops_resources",
        ["cluster", "namespace", "type", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("gitops_resource_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("commit_hash", sa.Text(), nullable=False),
        sa.Column("deployment_method", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("pull_request", sa.Integer(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("live_revision", sa.Text(), nullable=True),
        sa.Column("inputs_digest", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=False),
        sa.Column("policy_digest", sa.Text(), nullable=False),
        sa.Column("source_token", sa.Text(), nullable=True),
        sa.Column("kustomization_token", sa.Text(), nullable=True),
        sa.Column("failure_seen", sa.Text(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        *_leased(),
        *_row(),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name=op.f("fk_deployments_environment_id_environments")
        ),
        sa.ForeignKeyConstraint(
            ["gitops_resource_id"],
            ["gitops_resources.id"],
            name=op.f("fk_deployments_gitops_resource_id_gitops_resources"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_deployments_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["gitops_resources.id"], name=op.f("fk_deployments_source_id_gitops_resources")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sa.UniqueConstraint("environment_id", "number", name=op.f("uq_deployments_environment_id_number")),
    )


def _deployments_indexes() -> None:
    op.create_index(op.f("ix_deployments_commit_hash"), "deployments", ["commit_hash"])
    op.create_index(op.f("ix_deployments_gitops_resource_id"), "deployments", ["gitops_resource_id"])
    op.create_index(op.f("ix_deployments_run_id"), "deployments", ["run_id"])
    op.create_index(op.f("ix_deployments_source_id"), "deployments", ["source_id"])
    op.create_index(op.f("ix_deployments_status_due_at"), "deployments", ["status", "due_at"])


def _pins() -> None:
    op.create_table(
        "pins",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("pull_request", sa.Integer(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("commit_hash", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("pinned_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name=op.f("fk_pins_environment_id_environments")
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["gitops_resources.id"], name=op.f("fk_pins_source_id_gitops_resources")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pins")),
    )
    op.create_index(op.f("ix_pins_pull_request"), "pins", ["pull_request"])
    op.create_index(op.f("ix_pins_source_id"), "pins", ["source_id"])
    op.create_index(
        "uq_pins_environment_id_live",
        "pins",
        ["environment_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=True),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("content_digest", sa.Text(), nullable=True),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        *_leased(),
        *_row(),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_notifications_deployment_id_deployments")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_notifications_repository_id_repositories")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint(
            "kind",
            "repository_id",
            "target",
            "context",
            "sequence",
            name=op.f("uq_notifications_kind_repository_id_target_context_sequence"),
        ),
    )
    op.create_index(op.f("ix_notifications_deployment_id"), "notifications", ["deployment_id"])
    op.create_index(op.f("ix_notifications_status_due_at"), "notifications", ["status", "due_at"])
