"""PostgreSQL: DDL is transactional, so lock, judgement, migration and stamp share one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from flue_sqla.dialects.ddl.base import FLUE_PREFIX, NO_TRANSLATION, Obstacle, SchemaDialect

__all__ = ["PostgreSQLSchema"]

# How long one DDL statement may queue for a table lock. Everybody else queues behind it meanwhile, so it is short and tried again.
_DDL_LOCK_TIMEOUT_MS = 3_000

_COLLISIONS = frozenset({"23505", "42P07", "42710", "42P06", "40001", "40P01", "XX000"})
_FORBIDDEN = frozenset({"42501", "25006", "3F000"})
_UNREACHABLE = frozenset({"57P01", "57P02", "57P03", "57P05"})

_TABLES = sa.table("tables", sa.column("table_name", sa.Text), sa.column("table_schema", sa.Text), schema="information_schema")
_NAMESPACES = sa.table("pg_namespace", sa.column("nspname", sa.Text), schema="pg_catalog")


def _set_lock_timeout(milliseconds: str) -> sa.Select[Any]:
    # Local to the transaction: behind a transaction-mode pooler anything else would leak to other clients.
    return sa.select(sa.func.set_config("lock_timeout", milliseconds, True))


def _named(schema: str | None) -> sa.ColumnElement[Any]:
    return sa.func.current_schema() if schema is None else sa.literal(schema, sa.Text)


class PostgreSQLSchema(SchemaDialect):
    profile: ClassVar[str] = "postgres"
    failure_ends_transaction: ClassVar[bool] = True
    # Whatever the engine's default: after waiting for the lock we must see what its last holder committed.
    begin_options: ClassVar[dict[str, Any]] = {"isolation_level": "READ COMMITTED"}
    glance_options: ClassVar[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT"}

    encoding_remedy: ClassVar[str] = "Use a database that was created with ENCODING 'UTF8'; nothing was changed."

    def relations(self, schema: str | None) -> sa.Select[Any]:
        name = _TABLES.c.table_name
        return sa.select(name.label("name")).where(_TABLES.c.table_schema == _named(schema), name.like(FLUE_PREFIX, escape="!"))

    def other_encodings(self, schema: str | None, tables: Sequence[str]) -> sa.Select[Any]:
        encoding = sa.func.current_setting("server_encoding")
        name = sa.literal("database ", sa.Text) + sa.func.current_database()
        return sa.select(name.label("name"), encoding.label("encoding")).where(encoding != "UTF8")

    @contextmanager
    def lock(self, connection: sa.Connection, schema: str | None, timeout_ms: int) -> Iterator[bool]:
        before = connection.scalar(sa.select(sa.func.current_setting("lock_timeout")))
        connection.execute(_set_lock_timeout(f"{max(timeout_ms, 1)}ms"))
        # Advisory locks belong to one database; the schema's name keeps two schemas of it apart.
        name = sa.literal("flue_sqla migration of ", sa.Text) + sa.func.coalesce(_named(schema), "")
        try:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))
        except DBAPIError as error:
            if self.obstacle(error) is not Obstacle.LOCKED:
                raise
            yield False
            return
        connection.execute(_set_lock_timeout(f"{min(_DDL_LOCK_TIMEOUT_MS, max(timeout_ms, 1))}ms"))
        yield True
        connection.execute(_set_lock_timeout(str(before)))

    def ensure_schema(self, connection: sa.Connection, schema: str) -> None:
        found = connection.scalar(sa.select(_NAMESPACES.c.nspname).where(_NAMESPACES.c.nspname == schema))
        # Asked first, because CREATE SCHEMA IF NOT EXISTS needs the right to create one even where it exists.
        if found is None:
            connection.execute(CreateSchema(schema), execution_options=NO_TRANSLATION)

    def schema_script(self, schema: str) -> Sequence[sa.Executable]:
        return (CreateSchema(schema, if_not_exists=True),)

    def obstacle(self, error: DBAPIError) -> Obstacle:
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if state == "55P03":
            return Obstacle.LOCKED
        if state in _COLLISIONS:
            return Obstacle.COLLISION
        if state in _FORBIDDEN:
            return Obstacle.FORBIDDEN
        if error.connection_invalidated or state in _UNREACHABLE or (isinstance(state, str) and state.startswith("08")):
            return Obstacle.UNREACHABLE
        return Obstacle.OTHER
