"""What differs between databases when a schema is judged, locked and changed: the counterpart of ``dialects`` for DDL."""

from __future__ import annotations

import sqlalchemy as sa

from flue_sqla.dialects.ddl.base import NO_TRANSLATION, Obstacle, RenameKey, SchemaDialect, pause
from flue_sqla.dialects.ddl.mysql import MySQLSchema
from flue_sqla.dialects.ddl.postgresql import PostgreSQLSchema
from flue_sqla.dialects.ddl.sqlite import SQLiteSchema
from flue_sqla.models.profiles import profile_of

__all__ = ["NO_TRANSLATION", "Obstacle", "RenameKey", "SchemaDialect", "pause", "schema_dialect"]

_BY_PROFILE: dict[str, type[SchemaDialect]] = {"postgres": PostgreSQLSchema, "mysql": MySQLSchema, "sqlite": SQLiteSchema}


def schema_dialect(dialect: sa.Dialect) -> SchemaDialect:
    """The ways of one SQLAlchemy dialect.

    Raises ConfigurationError for a database that is not supported.
    """
    return _BY_PROFILE[profile_of(dialect.name)](dialect)
