"""MySQL and MariaDB: orders of bytes, table locks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from flue_sqla.dialects.bulk.base import BulkDialect

__all__ = ["MySQLBulk"]

_SORTED_BYTES = 1024
"""How much of a value the server compares when it sorts (``max_sort_length``)."""


class MySQLBulk(BulkDialect):
    """LOCK TABLES, and columns narrower than elsewhere."""

    def integer_range(self, kind: TypeEngine[Any]) -> tuple[int, int]:
        if isinstance(kind, mysql.TINYINT):
            return -128, 127
        lowest, highest = super().integer_range(kind)
        return (0 if getattr(kind, "unsigned", False) else lowest), highest

    def bytewise(self, column: sa.Column[Any]) -> Sequence[sa.ColumnElement[Any]]:
        # utf8mb4_bin pads with blanks, so it puts 'a\t' before 'a': only the bytes themselves are ordered by their bytes.
        raw = sa.cast(column, mysql.BINARY())
        return (sa.func.substr(raw, 1, _SORTED_BYTES), sa.func.substr(raw, _SORTED_BYTES + 1))

    @contextmanager
    def exclusive(self, connection: sa.Connection, schema: str | None, tables: Sequence[sa.Table]) -> Iterator[None]:
        # Rows and gaps could be locked one by one, but only this keeps an empty table from being written.
        preparer = connection.dialect.identifier_preparer
        prefix = f"{preparer.quote_schema(schema)}." if schema else ""
        names = ", ".join(f"{prefix}{preparer.quote(table.name)} WRITE" for table in tables)
        connection.exec_driver_sql(f"LOCK TABLES {names}")
        try:
            yield
        except BaseException:
            # A connection that broke has lost its locks with its transaction.
            with suppress(DBAPIError):
                connection.exec_driver_sql("ROLLBACK")
                connection.exec_driver_sql("UNLOCK TABLES")
            raise
        # Commits: unlocked first, others would read between the two.
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("UNLOCK TABLES")

    def statement_limit(self, connection: sa.Connection) -> int | None:
        return int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one())
