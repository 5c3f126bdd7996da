"""Customers. Named as many people name their first revision."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = ("shop",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "flueless_customers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
    )
    op.create_index("ix_flueless_customers_name", "flueless_customers", ["name"])


def downgrade() -> None:
    op.drop_table("flueless_customers")
