"""What somebody confirmed that goes with a deployment, and what it takes over from others."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("prunes", sa.JSON(), nullable=True))
        table.add_column(sa.Column("take_over", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.drop_column("take_over")
        table.drop_column("prunes")
