"""What differs between databases when whole tables are read and written: the counterpart of ``dialects`` for snapshots."""

from __future__ import annotations

import sqlalchemy as sa

from flue_sqla.dialects.bulk.base import BulkDialect, placed
from flue_sqla.dialects.bulk.mysql import MySQLBulk
from flue_sqla.dialects.bulk.postgresql import PostgreSQLBulk
from flue_sqla.dialects.bulk.sqlite import SQLiteBulk
from flue_sqla.models.profiles import profile_of

__all__ = ["BulkDialect", "bulk_dialect", "placed"]

_BY_PROFILE: dict[str, type[BulkDialect]] = {"postgres": PostgreSQLBulk, "mysql": MySQLBulk, "sqlite": SQLiteBulk}


def bulk_dialect(dialect: sa.Dialect) -> BulkDialect:
    """The ways of one SQLAlchemy dialect.

    Raises ConfigurationError for a database that is not supported.
    """
    return _BY_PROFILE[profile_of(dialect.name)]()
