"""What a release is bound to and who asked for it; one waiting deployment each environment; whose a lock is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DEPLOYMENTS = {
    "requested_by_id": sa.Text,
    "branch": sa.Text,
    "base_branch": sa.Text,
    "base_commit": sa.Text,
    "config_commit": sa.Text,
    "gates": sa.JSON,
}
# Words that the older version does not know, and what it would have called them.
TRIGGERS = {"rollback": "deploy", "promote": "deploy", "resume": "unpin", "lock": "deploy"}


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        for name, kind in DEPLOYMENTS.items():
            table.add_column(sa.Column(name, kind(), nullable=True))
        table.add_column(sa.Column("chain_digest", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True))
    _one_waits()
    waiting = sa.text("status = 'waiting'")
    op.create_index(
        "uq_deployments_environment_id_waiting",
        "deployments",
        ["environment_id"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index(op.f("ix_deployments_pull_request_status"), "deployments", ["pull_request", "status"])
    with op.batch_alter_table("locks") as table:
        table.add_column(sa.Column("owner_id", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("pull_request", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_locks_pull_request"), "locks", ["pull_request"])
    with op.batch_alter_table("holds") as table:
        table.add_column(sa.Column("pull_request", sa.Integer(), nullable=True))
    with op.batch_alter_table("heads") as table:
        table.add_column(sa.Column("actor_id", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("heads") as table:
        table.drop_column("actor_id")
    with op.batch_alter_table("holds") as table:
        table.drop_column("pull_request")
    op.drop_index(op.f("ix_locks_pull_request"), "locks")
    with op.batch_alter_table("locks") as table:
        table.drop_column("pull_request")
        table.drop_column("owner_id")
    op.drop_index(op.f("ix_deployments_pull_request_status"), "deployments")
    op.drop_index("uq_deployments_environment_id_waiting", "deployments")
    for newer, older in TRIGGERS.items():
        op.execute(f"UPDATE deployments SET trigger = '{older}' WHERE trigger = '{newer}'")  # noqa: S608 - our words
    with op.batch_alter_table("deployments") as table:
        for name in ("approved_at", "chain_digest", *reversed(DEPLOYMENTS)):
            table.drop_column(name)


def _one_waits() -> None:
    """No released version opened a deployment that waits; should one be there twice, the newest stays."""
    op.execute(
        "UPDATE deployments SET status = 'superseded' WHERE status = 'waiting' AND number < ("
        "SELECT max(newer.number) FROM deployments AS newer"
        " WHERE newer.environment_id = deployments.environment_id AND newer.status = 'waiting')"
    )
