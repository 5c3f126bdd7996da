"""MySQL and MariaDB: every DDL statement commits, so a named lock of the connection is held and revisions can run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.ddl.base import FLUE_PREFIX, Obstacle, SchemaDialect, restored

__all__ = ["MySQLSchema"]

# The server's own default for a DDL statement that queues behind an open transaction is a day.
_DDL_LOCK_TIMEOUT_S = 10

_LOCKED = frozenset({1205, 3572})
_COLLISIONS = frozenset({1050, 1061, 1060, 1213, 1020, 1412})
_FORBIDDEN = frozenset({1044, 1142, 1227, 1290, 1370, 1792, 1836})
_UNREACHABLE = frozenset({1040, 1045, 1049, 1053, 1129, 1130, 1927, 2002, 2003, 2005, 2006, 2013, 2055, 4031})

_TABLES = sa.table("TABLES", sa.column("TABLE_NAME", sa.Text), sa.column("TABLE_SCHEMA", sa.Text), schema="information_schema")
_SCHEMATA = sa.table(
    "SCHEMATA", sa.column("SCHEMA_NAME", sa.Text), sa.column("DEFAULT_CHARACTER_SET_NAME", sa.Text), schema="information_schema"
)
_COLUMNS = sa.table(
    "COLUMNS",
    *(sa.column(name, sa.Text) for name in ("TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME", "DATA_TYPE", "CHARACTER_SET_NAME")),
    schema="information_schema",
)


class MySQLSchema(SchemaDialect):
    profile: ClassVar[str] = "mysql"
    transactional_ddl: ClassVar[bool] = False
    missing_schema: ClassVar[str] = "Correct FLUE_SCHEMA (--schema), or CREATE DATABASE it and grant this account its rights there."

    encoding_remedy: ClassVar[str] = (
        "ALTER DATABASE … CHARACTER SET utf8mb4, ALTER TABLE … MODIFY the columns that are named here to it, and migrate again; "
        "nothing was changed."
    )

    def __init__(self, dialect: sa.Dialect) -> None:
        super().__init__(dialect)
        self.index_if_not_exists = bool(getattr(dialect, "is_mariadb", False))  # type: ignore[misc]

    def relations(self, schema: str | None) -> sa.Select[Any]:
        where = sa.literal(schema) if schema is not None else sa.func.database()
        name = _TABLES.c.TABLE_NAME
        return sa.select(name.label("name")).where(where == _TABLES.c.TABLE_SCHEMA, name.like(FLUE_PREFIX, escape="!"))

    def find_schema(self, schema: str) -> sa.Select[Any]:
        return sa.select(_SCHEMATA.c.SCHEMA_NAME).where(sa.literal(schema) == _SCHEMATA.c.SCHEMA_NAME)

    def other_encodings(self, schema: str | None, tables: Sequence[str]) -> sa.CompoundSelect[Any]:
        # Our long texts have no character set of their own (spec/schema.md §3): a new table takes the database's.
        where = sa.literal(schema) if schema is not None else sa.func.database()
        default, column = _SCHEMATA.c.DEFAULT_CHARACTER_SET_NAME, _COLUMNS.c
        other = sa.or_(
            column.CHARACTER_SET_NAME.not_in(("utf8mb4", "ascii")),
            sa.and_(column.DATA_TYPE == "longtext", column.CHARACTER_SET_NAME != "utf8mb4"),
        )
        return sa.union_all(
            sa.select(sa.func.concat("database ", _SCHEMATA.c.SCHEMA_NAME).label("name"), default.label("encoding")).where(
                where == _SCHEMATA.c.SCHEMA_NAME, default != "utf8mb4"
            ),
            sa.select(sa.func.concat(column.TABLE_NAME, ".", column.COLUMN_NAME), column.CHARACTER_SET_NAME).where(
                where == column.TABLE_SCHEMA, column.TABLE_NAME.in_(tables), other
            ),
        )

    @contextmanager
    def lock(self, connection: sa.Connection, schema: str | None, timeout_ms: int) -> Iterator[bool]:
        # Names of locks are server-wide and at most 64 characters long, hence the digest of the database's name.
        where = sa.literal(schema) if schema is not None else sa.func.database()
        name = sa.func.concat("flue_sqla.", sa.func.sha1(sa.func.coalesce(where, "")))
        granted = connection.scalar(sa.select(sa.func.get_lock(name, -(-timeout_ms // 1000))))
        if granted != 1:
            yield False
            return
        with restored(connection, sa.select(sa.func.release_lock(name))):
            before = int(connection.exec_driver_sql("SELECT @@SESSION.lock_wait_timeout").scalar_one())
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {_DDL_LOCK_TIMEOUT_S}")
            with restored(connection, f"SET SESSION lock_wait_timeout = {before}"):
                yield True
                # Before the lock goes: the next holder must see the version row.
                self._commit(connection)

    @staticmethod
    def _commit(connection: sa.Connection) -> None:
        connection.exec_driver_sql("COMMIT")

    def obstacle(self, error: DBAPIError) -> Obstacle:
        arguments = getattr(error.orig, "args", ())
        number = arguments[0] if arguments else None
        if number in _LOCKED:
            return Obstacle.LOCKED
        if number in _COLLISIONS:
            return Obstacle.COLLISION
        if number in _FORBIDDEN:
            return Obstacle.FORBIDDEN
        if error.connection_invalidated or number in _UNREACHABLE:
            return Obstacle.UNREACHABLE
        return Obstacle.OTHER
