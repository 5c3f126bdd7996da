"""The three physical layouts (spec/schema.md: profiles) and the metadata of each."""

from __future__ import annotations

from functools import cache
from typing import Final

from sqlalchemy import MetaData, Table
from sqlalchemy.schema import SchemaItem

from flue_sqla.errors import ConfigurationError
from flue_sqla.models.base import Base
from flue_sqla.models.indexes import add_profile_indexes

__all__ = ["PROFILES", "metadata_for", "profile_of"]

PROFILES: Final = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
"""SQLAlchemy dialect name → profile."""


def profile_of(dialect_name: str) -> str:
    """The profile of a SQLAlchemy dialect name.

    Raises ConfigurationError for a database that is not supported.
    """
    try:
        return PROFILES[dialect_name]
    except KeyError:
        raise ConfigurationError(
            f"The database dialect {dialect_name!r} is not supported.",
            meta={"dialect": dialect_name, "supported": sorted(PROFILES)},
            remedy="Use PostgreSQL, MySQL, MariaDB or SQLite.",
        ) from None


def metadata_for(dialect_name: str, schema: str | None = None) -> MetaData:
    """The tables, columns, constraints and indexes that a database of this dialect has, and no others.

    Without ``schema`` the tables carry no schema name, and ``schema_translate_map={None: schema}`` places them. Treat the result as
    read-only, it is shared. Raises ConfigurationError for a dialect that is not supported.
    """
    return _metadata_of(profile_of(dialect_name), schema)


@cache
def _metadata_of(profile: str, schema: str | None) -> MetaData:
    metadata = MetaData(schema=schema, naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        if _belongs(table, profile):
            _restrict(table.to_metadata(metadata, schema=schema) if schema else table.to_metadata(metadata), profile)
    add_profile_indexes(metadata, profile, schema)
    return metadata


def _belongs(item: SchemaItem, profile: str) -> bool:
    profiles = item.info.get("profiles")
    return profiles is None or profile in profiles


def _restrict(table: Table, profile: str) -> None:
    if profile == "mysql":
        # Every primary key is called PRIMARY there, and another name for one is a warning.
        table.primary_key.name = None
    for constraint in list(table.constraints):
        if not _belongs(constraint, profile):
            table.constraints.discard(constraint)
    for column in list(table.columns):
        if not _belongs(column, profile):
            # The collection of a Table has no public way to take a column out again; the alternative, CreateColumn compiled to nothing,
            # would leave the column in what Alembic compares.
            table._columns.remove(column)
            continue
        if "nullable_in" in column.info:
            column.nullable = profile in column.info["nullable_in"]
        if column.identity is not None and profile != "postgres":
            # AUTOINCREMENT and AUTO_INCREMENT do it there; older Alembic would miss the identity as a server default.
            column.identity = column.server_default = None
