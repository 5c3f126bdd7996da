"""Orders."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("customer_id", sa.Integer(), sa.ForeignKey("flueless_customers.id"), nullable=False),
        sa.Column("submission_id", sa.String(255)),
    )


def downgrade() -> None:
    op.drop_table("orders")
