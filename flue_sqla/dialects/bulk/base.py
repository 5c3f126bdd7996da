"""Whole tables in and out: what snapshots need from a database beyond single statements.

:class:`BulkDialect` is the portable behaviour. Rows are plain tuples in the order of the named columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from flue_sqla.wire import MAX_SAFE_INTEGER

__all__ = ["BulkDialect", "placed"]

_FETCH = 10


def placed(schema: str | None) -> dict[str, Any]:
    """The execution options that put our tables where they are."""
    return {"schema_translate_map": {None: schema} if schema else {}}


class BulkDialect:
    """The portable behaviour: streamed SELECTs and many-row INSERTs."""

    nul_in_text: ClassVar[bool] = True
    """Text may hold U+0000."""
    typed_columns: ClassVar[bool] = True
    """A column holds values of its declared type and no others."""

    def bytewise(self, column: sa.Column[Any]) -> Sequence[sa.ColumnElement[Any]]:
        """What to ORDER BY so that rows come in the order of the column's bytes, whatever the database's collation."""
        return (column,)

    def integer_range(self, kind: TypeEngine[Any]) -> tuple[int, int]:
        """The least and greatest value of an integer column; no more than JavaScript holds exactly (spec/schema.md §1)."""
        highest = MAX_SAFE_INTEGER if isinstance(kind, sa.BigInteger) else 2**31 - 1
        return -highest, highest

    def stream(self, connection: sa.Connection, schema: str | None, statement: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, a few in memory at a time."""
        streamed = statement.execution_options(stream_results=True, max_row_buffer=_FETCH)
        with connection.execute(streamed, execution_options=placed(schema)) as result:
            for row in result:
                yield tuple(row)

    def insert(
        self, connection: sa.Connection, schema: str | None, table: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert rows as they are, generated columns included."""
        if rows:
            parameters = [dict(zip(columns, row, strict=True)) for row in rows]
            connection.execute(sa.insert(table), parameters, execution_options=placed(schema))

    def restart_sequence(self, connection: sa.Connection, schema: str | None, column: sa.Column[Any]) -> None:
        """After rows came with their own values: the next generated value is above all of them, and above all that were ever given."""

    @contextmanager
    def exclusive(self, connection: sa.Connection, schema: str | None, tables: Sequence[sa.Table]) -> Iterator[None]:
        """Nobody else writes these tables inside the block, nor before what the block wrote is committed or rolled back.

        Where table locks end with a statement of their own, leaving the block commits, or rolls back when it raised.
        """
        yield

    def statement_limit(self, connection: sa.Connection) -> int | None:
        """The size in bytes of the largest statement that the server takes; None where nothing that is legal comes near it."""
        return None
