"""The orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders_app_orders",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("batch", sa.String(64), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("submission_id", sa.String(191), nullable=False),
        sa.UniqueConstraint("submission_id", name="uq_orders_app_orders_submission_id"),
    )
    op.create_index("ix_orders_app_orders_batch", "orders_app_orders", ["batch"])


def downgrade() -> None:
    op.drop_table("orders_app_orders")
