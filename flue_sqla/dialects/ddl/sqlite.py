"""SQLite: the write lock of the file is the migration lock, and DDL rolls back with its transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.ddl.base import FLUE_PREFIX, Obstacle, SchemaDialect, pause, restored
from flue_sqla.dialects.sqlite_file import file_of

__all__ = ["SQLiteSchema"]

_OBSTACLES = {
    sqlite3.SQLITE_BUSY: Obstacle.LOCKED,
    sqlite3.SQLITE_LOCKED: Obstacle.LOCKED,
    sqlite3.SQLITE_SCHEMA: Obstacle.COLLISION,
    sqlite3.SQLITE_READONLY: Obstacle.FORBIDDEN,
    sqlite3.SQLITE_PERM: Obstacle.FORBIDDEN,
    sqlite3.SQLITE_AUTH: Obstacle.FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: Obstacle.UNREACHABLE,
    sqlite3.SQLITE_NOTADB: Obstacle.UNREACHABLE,
    sqlite3.SQLITE_CORRUPT: Obstacle.UNREACHABLE,
    sqlite3.SQLITE_IOERR: Obstacle.UNREACHABLE,
}
_RETRY_PAUSE_S = 0.02


@lru_cache(maxsize=64)
def _master(schema: str | None) -> sa.TableClause:
    """One object per schema: a condition on a second one would be a cross join."""
    return sa.table("sqlite_master", sa.column("name", sa.Text), sa.column("type", sa.Text), schema=schema)


class SQLiteSchema(SchemaDialect):
    profile: ClassVar[str] = "sqlite"
    names_unique_keys: ClassVar[bool] = False
    # Our own engines begin with BEGIN IMMEDIATE under their own busy timeout; here the wait is ours to bound.
    begin_options: ClassVar[dict[str, Any]] = {"flue_begin": "DEFERRED"}
    glance_options: ClassVar[dict[str, Any]] = {"flue_begin": None}
    missing_schema: ClassVar[str] = "Leave FLUE_SCHEMA (--schema) out: on SQLite it is a file that an application's own engine attaches."

    def missing_file(self, url: sa.URL) -> Path | None:
        path = file_of(url)
        if path is None or os.path.exists(path) or not os.access(path.parent, os.X_OK):
            # In a folder that is not there, or that this user may not enter, nothing is created; the driver says what is wrong.
            return None
        return path

    def relations(self, schema: str | None) -> sa.Select[Any]:
        master = _master(schema)
        return sa.select(master.c.name.label("name")).where(master.c.type == "table", master.c.name.like(FLUE_PREFIX, escape="!"))

    def find_schema(self, schema: str) -> sa.Select[Any]:
        attached = sa.func.pragma_database_list().table_valued("name")
        return sa.select(attached.c.name).where(sa.func.lower(attached.c.name) == schema.lower())

    def foreign_layout(self, connection: sa.Connection, schema: str | None, tables: frozenset[str]) -> str | None:
        if "flue_attachments" not in tables:
            return None
        columns = {column["name"] for column in sa.inspect(connection).get_columns("flue_attachments", schema=schema)}
        return "libsql" if "bytes" in columns and "chunk_count" not in columns else None

    @contextmanager
    def lock(self, connection: sa.Connection, schema: str | None, timeout_ms: int) -> Iterator[bool]:
        driver: Any = connection.connection.driver_connection
        with self._patient(connection, timeout_ms):
            granted = self._begin_immediate(connection, time.monotonic() + timeout_ms / 1000)
        # In this mode the driver's commit() and rollback() do nothing, and the transaction that was begun by hand would stay open.
        by_hand = getattr(driver, "autocommit", None) is True
        try:
            yield granted
        except BaseException:
            if by_hand and driver.in_transaction:
                connection.exec_driver_sql("ROLLBACK")
            raise
        if by_hand and driver.in_transaction:
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def join(self, connection: sa.Connection, schema: str | None, timeout_ms: int) -> Iterator[bool]:
        driver: Any = connection.connection.driver_connection
        if driver.in_transaction:
            # Theirs to keep. The first write takes the lock, or fails and changes nothing.
            yield True
            return
        with self._patient(connection, timeout_ms):
            granted = self._begin_immediate(connection, time.monotonic() + timeout_ms / 1000)
        yield granted

    @staticmethod
    @contextmanager
    def _patient(connection: sa.Connection, timeout_ms: int) -> Iterator[None]:
        before = int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())
        with restored(connection, f"PRAGMA busy_timeout = {before}"):
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {max(timeout_ms, 1)}")
            yield

    def _begin_immediate(self, connection: sa.Connection, deadline: float) -> bool:
        driver: Any = connection.connection.driver_connection
        if driver.in_transaction:
            # Nothing was read or written in it yet: the engine's own deferred BEGIN, or a driver in autocommit=False mode.
            connection.exec_driver_sql("ROLLBACK")
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return True
            except DBAPIError as error:
                # The busy timeout did the waiting, except where SQLite gives up at once (a recovery of the log in progress).
                if self.obstacle(error) is not Obstacle.LOCKED:
                    raise
                if time.monotonic() >= deadline:
                    return False
            pause(_RETRY_PAUSE_S)

    def obstacle(self, error: DBAPIError) -> Obstacle:
        number = getattr(error.orig, "sqlite_errorcode", None)
        return _OBSTACLES.get(number & 0xFF, Obstacle.OTHER) if isinstance(number, int) else Obstacle.OTHER
