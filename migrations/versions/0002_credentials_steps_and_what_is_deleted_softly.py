"""People, credentials, the steps of enabling, approvals, locks; projects and environments are deleted softly."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What becomes of a row when the row that it points at is deleted; before, all but two refused the deletion silently.
# History is protected, parts go with their whole, and what may be purged leaves NULL behind.
POINTERS = (
    ("repositories", "organization_id", "organizations", "RESTRICT"),
    ("hooks", "repository_id", "repositories", "CASCADE"),
    ("heads", "repository_id", "repositories", "CASCADE"),
    ("runs", "repository_id", "repositories", "RESTRICT"),
    ("projects", "organization_id", "organizations", "RESTRICT"),
    ("projects", "repository_id", "repositories", "RESTRICT"),
    ("environments", "project_id", "projects", "CASCADE"),
    ("environments", "gitops_resource_id", "gitops_resources", "SET NULL"),
    ("gitops_resources", "project_id", "projects", "CASCADE"),
    ("gitops_resources", "environment_id", "environments", "CASCADE"),
    ("gitops_resources", "repository_id", "repositories", "RESTRICT"),
    ("deployments", "gitops_resource_id", "gitops_resources", "RESTRICT"),
    ("deployments", "source_id", "gitops_resources", "RESTRICT"),
    ("deployments", "environment_id", "environments", "RESTRICT"),
    ("deployments", "run_id", "runs", "SET NULL"),
    ("pins", "environment_id", "environments", "CASCADE"),
    ("pins", "source_id", "gitops_resources", "RESTRICT"),
    ("notifications", "repository_id", "repositories", "CASCADE"),
    ("notifications", "deployment_id", "deployments", "CASCADE"),
    ("unified_events", "organization_id", "organizations", "RESTRICT"),
)
ONCE = (
    ("projects", ("repository_id", "slug")),
    ("projects", ("namespace",)),
    ("environments", ("project_id", "name")),
    ("environments", ("cluster", "target_namespace")),
)


def upgrade() -> None:
    _people()
    _pointers(new=True)
    _soft_deletion()
    _notifications("repository_id", "kind", before=("kind", "repository_id"))
    _gitops_resources()
    _index("pins", "environment_id")
    _unified_events()
    _event_chain()
    _initialization_steps()
    _credentials()
    _approvals()
    _locks()
    _holds()
    _git_sync_logs()


def downgrade() -> None:
    for table in (
        "git_sync_logs",
        "holds",
        "locks",
        "approvals",
        "project_git_auth_deploy_key",
        "project_git_auth_app",
        "project_git_auth_token",
        "project_git_auth_oauth",
        "project_git_auth",
        "project_initialization_steps",
        "leases",
        "checkpoints",
    ):
        op.drop_table(table)
    _unified_events_before()
    op.drop_index(op.f("ix_pins_environment_id"), "pins")
    _gitops_resources_before()
    _notifications("kind", "repository_id", before=("repository_id", "kind"))
    _soft_deletion_before()
    _pointers(new=False)
    for name in ("git_platform_connections", "memberships", "users"):
        op.drop_table(name)


def _row() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    ]


def _key(table: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))


def _points(table: str, column: str, referred: str, on_delete: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{referred}")
    return sa.ForeignKeyConstraint([column], [f"{referred}.id"], name=name, ondelete=on_delete)


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def _once(table: str, *columns: str, where: str = "deleted_at IS NULL", name: str = "live") -> None:
    full, clause = f"uq_{table}_{'_'.join(columns)}_{name}", sa.text(where)
    op.create_index(full, table, list(columns), unique=True, sqlite_where=clause, postgresql_where=clause)


# Tables that were there.


def _pointers(*, new: bool) -> None:
    for table in dict.fromkeys(pointer[0] for pointer in POINTERS):
        with op.batch_alter_table(table) as batch:
            for _, column, referred, on_delete in (pointer for pointer in POINTERS if pointer[0] == table):
                name = op.f(f"fk_{table}_{column}_{referred}")
                batch.drop_constraint(name, type_="foreignkey")
                batch.create_foreign_key(name, referred, [column], ["id"], ondelete=on_delete if new else None)


def _soft_deletion() -> None:
    op.execute(
        "UPDATE projects SET initialization_job_id = NULL WHERE initialization_job_id NOT IN (SELECT id FROM runs)"
    )
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
        table.drop_constraint(op.f("uq_projects_namespace"), type_="unique")
        table.drop_constraint(op.f("uq_projects_repository_id_slug"), type_="unique")
        table.create_foreign_key(
            op.f("fk_projects_initialization_job_id_runs"),
            "runs",
            ["initialization_job_id"],
            ["id"],
            ondelete="SET NULL",
        )
    with op.batch_alter_table("environments") as table:
        table.add_column(sa.Column("cloud_provider", sa.Text(), nullable=True))
        table.add_column(sa.Column("region", sa.Text(), nullable=True))
        table.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
        table.drop_constraint(op.f("uq_environments_cluster_target_namespace"), type_="unique")
        table.drop_constraint(op.f("uq_environments_project_id_name"), type_="unique")
    for name, columns in ONCE:
        _once(name, *columns)
    _index("projects", "repository_id")
    _index("projects", "initialization_job_id")


def _soft_deletion_before() -> None:
    """The older version knows no deletion: what is deleted keeps out of its way, under names of its own."""
    op.drop_index(op.f("ix_projects_initialization_job_id"), "projects")
    op.drop_index(op.f("ix_projects_repository_id"), "projects")
    for name, columns in ONCE:
        op.drop_index(f"uq_{name}_{'_'.join(columns)}_live", name)
    own = "'-' || CAST(id AS VARCHAR(36)) WHERE deleted_at IS NOT NULL"
    op.execute("UPDATE environments SET gitops_resource_id = NULL WHERE deleted_at IS NOT NULL")
    for name, column in (
        ("projects", "slug"),
        ("projects", "namespace"),
        ("environments", "name"),
        ("environments", "target_namespace"),
    ):
        op.execute(f"UPDATE {name} SET {column} = {column} || {own}")  # noqa: S608 - names of our own columns only
    op.execute("UPDATE projects SET status = 'failed' WHERE status IN ('disabling', 'disabled')")
    with op.batch_alter_table("environments") as table:
        table.drop_column("deleted_at")
        table.drop_column("region")
        table.drop_column("cloud_provider")
        table.create_unique_constraint(
            op.f("uq_environments_cluster_target_namespace"), ["cluster", "target_namespace"]
        )
        table.create_unique_constraint(op.f("uq_environments_project_id_name"), ["project_id", "name"])
    with op.batch_alter_table("projects") as table:
        table.drop_constraint(op.f("fk_projects_initialization_job_id_runs"), type_="foreignkey")
        table.drop_column("deleted_at")
        table.create_unique_constraint(op.f("uq_projects_namespace"), ["namespace"])
        table.create_unique_constraint(op.f("uq_projects_repository_id_slug"), ["repository_id", "slug"])


OBJECT = ("cluster", "namespace", "type", "name")


def _gitops_resources() -> None:
    with op.batch_alter_table("gitops_resources") as table:
        table.add_column(sa.Column("adopted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("uq_gitops_resources_object_live", "gitops_resources")
    _once("gitops_resources", *OBJECT)
    _index("gitops_resources", "environment_id")


def _gitops_resources_before() -> None:
    op.drop_index(op.f("ix_gitops_resources_environment_id"), "gitops_resources")
    op.drop_index(f"uq_gitops_resources_{'_'.join(OBJECT)}_live", "gitops_resources")
    live = sa.text("deleted_at IS NULL")
    op.create_index(
        "uq_gitops_resources_object_live",
        "gitops_resources",
        list(OBJECT),
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    with op.batch_alter_table("gitops_resources") as table:
        table.drop_column("adopted")


def _notifications(*leading: str, before: tuple[str, ...]) -> None:
    """The unique index leads with the repository, so that its deletion need not read the whole table."""
    rest = ("target", "context", "sequence")
    with op.batch_alter_table("notifications") as table:
        table.drop_constraint(op.f(f"uq_notifications_{'_'.join((*before, *rest))}"), type_="unique")
        table.create_unique_constraint(op.f(f"uq_notifications_{'_'.join((*leading, *rest))}"), [*leading, *rest])


def _unified_events() -> None:
    with op.batch_alter_table("unified_events") as table:
        table.add_column(sa.Column("user_id", sa.Uuid(), nullable=True))
        table.add_column(sa.Column("ip", sa.Text(), nullable=True))
        table.add_column(sa.Column("user_agent", sa.Text(), nullable=True))
        table.add_column(sa.Column("sequence", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("previous_hash", sa.Text(), nullable=True))
        table.add_column(sa.Column("hash", sa.Text(), nullable=True))
        table.create_unique_constraint(op.f("uq_unified_events_sequence"), ["sequence"])
        table.create_foreign_key(
            op.f("fk_unified_events_user_id_users"), "users", ["user_id"], ["id"], ondelete="SET NULL"
        )
    _index("unified_events", "user_id")
    unchained = sa.text("sequence IS NULL")
    op.create_index(
        "ix_unified_events_unchained",
        "unified_events",
        ["created_at", "id"],
        sqlite_where=unchained,
        postgresql_where=unchained,
    )


def _unified_events_before() -> None:
    op.drop_index("ix_unified_events_unchained", "unified_events")
    op.drop_index(op.f("ix_unified_events_user_id"), "unified_events")
    with op.batch_alter_table("unified_events") as table:
        table.drop_constraint(op.f("fk_unified_events_user_id_users"), type_="foreignkey")
        table.drop_constraint(op.f("uq_unified_events_sequence"), type_="unique")
        for column in ("hash", "previous_hash", "sequence", "user_agent", "ip", "user_id"):
            table.drop_column(column)


# New tables.


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("avatar_url", sa.Text(), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        _key("users"),
        sa.UniqueConstraint("provider", "provider_account_id", name=op.f("uq_users_provider_provider_account_id")),
    )
    op.create_table(
        "memberships",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        *_row(),
        _points("memberships", "organization_id", "organizations", "CASCADE"),
        _points("memberships", "user_id", "users", "CASCADE"),
        _key("memberships"),
        sa.UniqueConstraint("organization_id", "user_id", name=op.f("uq_memberships_organization_id_user_id")),
    )
    _index("memberships", "user_id")
    _connections()


def _connections() -> None:
    op.create_table(
        "git_platform_connections",
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("server_url", sa.Text(), nullable=False),
        sa.Column("server_type", sa.Text(), nullable=False),
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("avatar_url", sa.Text(), nullable=True),
        sa.Column("access_token_sealed", sa.Text(), nullable=True),
        sa.Column("refresh_token_sealed", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_sync_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        *_row(),
        _points("git_platform_connections", "user_id", "users", "CASCADE"),
        _key("git_platform_connections"),
        sa.UniqueConstraint(
            "provider", "server_url", "provider_account_id", name="uq_git_platform_connections_account"
        ),
    )
    _index("git_platform_connections", "status", "expires_at")
    _index("git_platform_connections", "user_id")


def _event_chain() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("purged_until", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        _key("checkpoints"),
        sa.UniqueConstraint("sequence", name=op.f("uq_checkpoints_sequence")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        *_row(),
        _key("leases"),
        sa.UniqueConstraint("name", name=op.f("uq_leases_name")),
    )


def _initialization_steps() -> None:
    op.create_table(
        "project_initialization_steps",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        *_row(),
        _points("project_initialization_steps", "project_id", "projects", "CASCADE"),
        _points("project_initialization_steps", "run_id", "runs", "SET NULL"),
        _key("project_initialization_steps"),
        sa.UniqueConstraint("project_id", "step", name=op.f("uq_project_initialization_steps_project_id_step")),
    )
    _index("project_initialization_steps", "run_id")


def _credentials() -> None:
    op.create_table(
        "project_git_auth",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("auth_type", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("last_validated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("validation_status", sa.Text(), nullable=False),
        sa.Column("validation_message", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_at", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        _points("project_git_auth", "project_id", "projects", "CASCADE"),
        _key("project_git_auth"),
        sa.UniqueConstraint("project_id", name=op.f("uq_project_git_auth_project_id")),
    )
    _index("project_git_auth", "validation_status", "renew_at")
    _credential(
        "project_git_auth_oauth",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["git_platform_connections.id"],
            name="fk_project_git_auth_oauth_connection_id",
            ondelete="RESTRICT",
        ),
    )
    _index("project_git_auth_oauth", "connection_id")
    _credential(
        "project_git_auth_token",
        sa.Column("token_type", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("token_sealed", sa.Text(), nullable=False),
    )
    _credential(
        "project_git_auth_app",
        sa.Column("app_type", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("installation_id", sa.Text(), nullable=True),
    )
    _credential(
        "project_git_auth_deploy_key",
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("private_key_sealed", sa.Text(), nullable=False),
        sa.Column("forge_key_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
    )


def _credential(table: str, *own: Any) -> None:
    op.create_table(
        table,
        sa.Column("auth_id", sa.Uuid(), nullable=False),
        *own,
        *_row(),
        _points(table, "auth_id", "project_git_auth", "CASCADE"),
        _key(table),
        sa.UniqueConstraint("auth_id", name=op.f(f"uq_{table}_auth_id")),
    )


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("commit_hash", sa.Text(), nullable=False),
        sa.Column("chain_digest", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("void_reason", sa.Text(), nullable=True),
        *_row(),
        _points("approvals", "deployment_id", "deployments", "CASCADE"),
        _points("approvals", "run_id", "runs", "SET NULL"),
        _key("approvals"),
    )
    _index("approvals", "deployment_id")
    _index("approvals", "run_id")
    _once("approvals", "deployment_id", "provider_account_id", where="voided_at IS NULL")


def _locks() -> None:
    op.create_table(
        "locks",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        _points("locks", "environment_id", "environments", "CASCADE"),
        _key("locks"),
    )
    _index("locks", "environment_id", "status", "position")
    _index("locks", "status", "expires_at")
    _once("locks", "environment_id", where="status = 'held'", name="held")


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("deployment_id", sa.Uuid(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        *_row(),
        _points("holds", "environment_id", "environments", "CASCADE"),
        _points("holds", "deployment_id", "deployments", "SET NULL"),
        _key("holds"),
    )
    _index("holds", "deployment_id")
    _index("holds", "environment_id")
    _once("holds", "environment_id", where="ended_at IS NULL")


def _git_sync_logs() -> None:
    op.create_table(
        "git_sync_logs",
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("base_commit", sa.Text(), nullable=False),
        sa.Column("commit_hash", sa.Text(), nullable=True),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("conflict", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("pull_request", sa.Integer(), nullable=True),
        *_row(),
        _points("git_sync_logs", "repository_id", "repositories", "RESTRICT"),
        _points("git_sync_logs", "project_id", "projects", "SET NULL"),
        _points("git_sync_logs", "run_id", "runs", "SET NULL"),
        _key("git_sync_logs"),
    )
    for columns in (("created_at",), ("project_id",), ("repository_id", "branch"), ("run_id",)):
        _index("git_sync_logs", *columns)
