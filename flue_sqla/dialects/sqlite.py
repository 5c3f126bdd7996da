"""SQLite: one writer at a time, chunk rows for long values."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.base import DialectImpl, Fault
from flue_sqla.dialects.sqlite_file import file_of, how_to_open
from flue_sqla.errors import ConfigurationError
from flue_sqla.models.tables import meta

if TYPE_CHECKING:
    from flue_sqla.repositories.scope import Executor

__all__ = ["SQLiteImpl"]

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

# Changes nothing, but is a write: it takes the file's write lock before the first read, so that what is read stays true.
_TAKE_WRITE_LOCK = sa.delete(meta).where(meta.c.key == "")


class SQLiteImpl(DialectImpl):
    name: ClassVar[str] = "sqlite"
    update_returning: ClassVar[bool] = True
    row_locks: ClassVar[bool] = False
    skip_locked: ClassVar[bool] = False
    chunked_values: ClassVar[bool] = True

    def insert_ignore(self, table: sa.Table) -> Any:
        return sqlite.insert(table).on_conflict_do_nothing()

    def upsert(self, table: sa.Table, key: Sequence[str], replaced: Sequence[str], computed: Mapping[str, Any] | None = None) -> Any:
        insert = sqlite.insert(table)
        changes = {name: insert.excluded[name] for name in replaced} | dict(computed or {})
        return insert.on_conflict_do_update(index_elements=list(key), set_=changes)

    def json_field(self, document: sa.ColumnElement[str], key: str) -> sa.ColumnElement[str]:
        valid = sa.case((sa.func.json_valid(document) == 1, document), else_="null")
        return sa.func.json_extract(valid, f"$.{key}", type_=sa.Text())

    def begin_snapshot(self, connection: sa.Connection) -> None:
        # The driver of a host's engine may not begin a transaction before a SELECT.
        if not _in_transaction(connection):
            connection.exec_driver_sql("BEGIN")

    def begin_write(self, executor: Executor) -> None:
        executor.execute(_TAKE_WRITE_LOCK)
        if not _in_transaction(executor.connection):
            raise ConfigurationError(
                "The SQLite driver commits each statement by itself, so nothing could be written together or rolled back.",
                remedy="Leave isolation_level and autocommit of the driver alone, or emit BEGIN in the engine's begin event.",
            )

    def fault(self, error: DBAPIError) -> Fault:
        number = getattr(error.orig, "sqlite_errorcode", None)
        if isinstance(number, int) and number & 0xFF in _BUSY:
            return Fault.CONFLICT
        return super().fault(error)

    def table_missing(self, error: DBAPIError) -> bool:
        # The number of this error is that of any wrong statement.
        return str(error.orig).startswith("no such table: ")

    def unreachable(self, url: sa.URL) -> str:
        path = file_of(url)
        return "Check the database's name in the URL." if path is None else how_to_open(path)


def _in_transaction(connection: sa.Connection) -> bool:
    return bool(getattr(connection.connection.driver_connection, "in_transaction", True))
