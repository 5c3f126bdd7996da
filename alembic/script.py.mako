"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flue_sqla.schema.revision import step
${imports if imports else ""}

# Begins with "flue_", so that a host's history never has a revision of the same name.
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

# The oldest revision whose release may keep running on this schema. Its own: none may. Name an older one only when a release that
# knows nothing of this revision reads and writes every row right; docs/migrations.md says what that takes.
min_revision = ${repr(up_revision)}


def upgrade(context: Any = None) -> None:
    with step(context) as this:
        # Must be able to run again after an interruption: on MySQL every DDL statement commits. Never autocommit_block or CONCURRENTLY.
        op, schema = this.op, this.schema
        ${upgrades if upgrades else "raise NotImplementedError"}
        this.declare_floor(min_revision)


def downgrade(context: Any = None) -> None:
    with step(context) as this:
        op, schema = this.op, this.schema
        ${downgrades if downgrades else "raise NotImplementedError"}
        this.declare_floor(down_revision)
