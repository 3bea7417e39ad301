"""What somebody confirmed that goes with a deployment, what it takes over from others, and what gave a lock back."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LOCK_KEY = "fk_locks_released_run_id_runs"
LOCK_INDEX = "ix_locks_released_run_id"


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("prunes", sa.JSON(), nullable=True))
        table.add_column(sa.Column("take_over", sa.JSON(), nullable=True))
    with op.batch_alter_table("locks") as table:
        table.add_column(sa.Column("released_run_id", sa.Uuid(), nullable=True))
        table.create_foreign_key(op.f(LOCK_KEY), "runs", ["released_run_id"], ["id"], ondelete="SET NULL")
        table.create_index(op.f(LOCK_INDEX), ["released_run_id"])


def downgrade() -> None:
    with op.batch_alter_table("locks") as table:
        table.drop_index(op.f(LOCK_INDEX))
        table.drop_constraint(op.f(LOCK_KEY), type_="foreignkey")
        table.drop_column("released_run_id")
    with op.batch_alter_table("deployments") as table:
        table.drop_column("take_over")
        table.drop_column("prunes")
