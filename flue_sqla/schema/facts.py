"""What is found in a database, before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.ddl import NO_TRANSLATION, Obstacle, SchemaDialect
from flue_sqla.errors import SchemaVersionError
from flue_sqla.schema.release import FLOOR_KEY, FORMAT_KEY, LEGACY_KEY, META_TABLE, VERSION_TABLE

__all__ = ["Facts", "Placement", "examine", "glance", "meta_table"]

_KEYS = (FORMAT_KEY, LEGACY_KEY, FLOOR_KEY)
_VERSION = "version_num"


@dataclass(frozen=True)
class Placement:
    """Where the tables and the version table are.

    ``schema`` None is the connection's default schema. ``branch`` says that the version table is a host's own, with the host's revisions
    in it (docs/migrations.md); otherwise the version table is ours and stands beside our tables.
    """

    schema: str | None = None
    version_table: str = VERSION_TABLE
    version_table_schema: str | None = None
    branch: bool = False

    @classmethod
    def of(cls, schema: str | None, version_table: str | None, version_table_schema: str | None, branch: bool | None = None) -> Placement:
        """From settings, where no version table means our own, and another name than ours a host's."""
        foreign = version_table not in (None, VERSION_TABLE)
        return cls(schema, version_table or VERSION_TABLE, version_table_schema, foreign if branch is None else branch and foreign)

    @property
    def version_schema(self) -> str | None:
        return self.version_table_schema if self.branch or self.version_table_schema is not None else self.schema


@dataclass(frozen=True)
class Facts:
    """What was read.

    ``stamps`` holds the rows of ``flue_meta`` that matter; a NULL value counts as absent (spec/schema.md §2.1). ``versions`` is None where
    there is no version table. ``tables`` are the other ``flue_…`` relations, None when nobody looked.
    """

    stamps: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[str, ...] | None = None
    tables: frozenset[str] | None = None
    layout: str | None = None


def meta_table(schema: str | None) -> sa.TableClause:
    """``flue_meta`` in one schema, for statements that no translate map may move."""
    return sa.table(META_TABLE, sa.column("key", sa.Text), sa.column("value", sa.Text), schema=schema)


def _version_table(placement: Placement) -> sa.TableClause:
    return sa.table(placement.version_table, sa.column(_VERSION, sa.Text), schema=placement.version_schema)


@lru_cache(maxsize=64)
def _glance_statement(placement: Placement) -> sa.CompoundSelect[Any]:
    meta = meta_table(placement.schema)
    return sa.union_all(
        sa.select(sa.literal_column("'stamp'").label("kind"), meta.c.key.label("name"), meta.c.value.label("value")).where(
            meta.c.key.in_(_KEYS)
        ),
        sa.select(sa.literal_column("'version'"), _version_table(placement).c[_VERSION], sa.literal_column("''")),
    )


def glance(connection: sa.Connection, ways: SchemaDialect, placement: Placement) -> Facts | None:
    """One SELECT that tells all about a migrated database; None where one of its two tables is missing."""
    try:
        rows = _try(connection, ways, _glance_statement(placement))
    except DBAPIError as error:
        if ways.obstacle(error) is not Obstacle.OTHER:
            raise
        return None
    stamps = _stamps((name, value) for kind, name, value in rows if kind == "stamp")
    return Facts(stamps=stamps, versions=tuple(name for kind, name, _ in rows if kind == "version"))


def _try(connection: sa.Connection, ways: SchemaDialect, statement: sa.Executable) -> list[Any]:
    """Execute a SELECT that may fail, and leave the caller's transaction, or the absence of one, as it was."""
    joined = connection.in_transaction()
    if joined and ways.failure_ends_transaction:
        with connection.begin_nested():
            return list(connection.execute(statement, execution_options=NO_TRANSLATION))
    try:
        return list(connection.execute(statement, execution_options=NO_TRANSLATION))
    finally:
        if not joined:
            connection.rollback()


def examine(connection: sa.Connection, ways: SchemaDialect, placement: Placement) -> Facts:
    """Look at the catalog first, then at what is there. Never fails for a missing table.

    Raises:
        SchemaVersionError: the schema itself is missing, and migrating would not create it.
    """
    if placement.schema is not None:
        _refuse_missing(connection, ways, placement.schema)
    names = frozenset(str(name) for name in connection.scalars(ways.relations(placement.schema), execution_options=NO_TRANSLATION))
    stamps = _read_stamps(connection, placement) if META_TABLE in names else {}
    versions = None
    if _has_version_table(connection, placement, names):
        statement = sa.select(_version_table(placement).c[_VERSION])
        versions = tuple(connection.scalars(statement, execution_options=NO_TRANSLATION))
    tables = names if stamps is None else names - {META_TABLE}
    if placement.branch:
        tables -= {placement.version_table}
    return Facts(stamps or {}, versions, tables, ways.foreign_layout(connection, placement.schema, tables))


def _refuse_missing(connection: sa.Connection, ways: SchemaDialect, schema: str) -> None:
    statement = ways.find_schema(schema)
    if statement is not None and connection.execute(statement, execution_options=NO_TRANSLATION).first() is None:
        raise SchemaVersionError(f"There is no schema {schema!r}.", meta={"schema": schema}, remedy=ways.missing_schema)


def _read_stamps(connection: sa.Connection, placement: Placement) -> dict[str, str] | None:
    """What the table holds; None where it is one of somebody else's, without our columns."""
    meta = meta_table(placement.schema)
    columns = {str(column["name"]) for column in sa.inspect(connection).get_columns(META_TABLE, schema=placement.schema)}
    if not columns >= {column.name for column in meta.c}:
        return None
    statement = sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_(_KEYS))
    return _stamps(tuple(row) for row in connection.execute(statement, execution_options=NO_TRANSLATION))


def _has_version_table(connection: sa.Connection, placement: Placement, names: frozenset[str]) -> bool:
    if not placement.branch and placement.version_schema == placement.schema:
        return placement.version_table in names
    return sa.inspect(connection).has_table(placement.version_table, schema=placement.version_schema)


def _stamps(rows: Iterable[tuple[Any, ...]]) -> dict[str, str]:
    return {str(key): str(value) for key, value in rows if value is not None}
