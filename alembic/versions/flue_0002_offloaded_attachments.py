"""Which attachments are kept as artifacts.

Revision ID: flue_0002
Revises: flue_0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from flue_sqla.schema.revision import step

revision = "flue_0002"
down_revision = "flue_0001"
branch_labels = None
depends_on = None

# A release that does not know of this would take an attachment that is kept as an artifact for a damaged one.
min_revision = "flue_0002"


def upgrade(context: Any = None) -> None:
    with step(context) as this:
        this.create_missing(tables(this.profile, this.schema))
        this.declare_floor(min_revision)


def downgrade(context: Any = None) -> None:
    with step(context) as this:
        metadata = tables(this.profile, this.schema)
        (table,) = metadata.sorted_tables
        if this.goes_below("flue_0001"):
            this.refuse_loss()
        this.refuse_rows(table, "nothing else says which attachments are kept as which artifacts")
        this.drop(metadata)
        this.declare_floor(down_revision)


def tables(profile: str, schema: str | None) -> sa.MetaData:
    """The table of one profile, placed in a schema."""
    key = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    name = sa.Text().with_variant(key, "mysql", "mariadb")
    table = sa.Table(
        "flue_offloaded_attachments",
        sa.MetaData(schema=schema),
        sa.Column("stream_path", name, nullable=False),
        sa.Column("attachment_id", name, nullable=False),
        sa.Column("artifact_id", name.with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        # On MySQL every primary key is called PRIMARY, and a name for one is a warning.
        sa.PrimaryKeyConstraint("stream_path", "attachment_id", name=None if profile == "mysql" else "flue_offloaded_attachments_pkey"),
        sa.UniqueConstraint("artifact_id", name="flue_offloaded_attachments_artifact_id_key"),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
    return table.metadata
