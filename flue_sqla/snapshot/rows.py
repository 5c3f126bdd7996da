"""Logical rows out of a database and into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.dialects.bulk import bulk_dialect, placed
from flue_sqla.errors import InternalStateError
from flue_sqla.models import metadata_for
from flue_sqla.snapshot.catalogue import TABLES, SnapshotTable
from flue_sqla.snapshot.layout import ChunkLayout, Row, chunk_layout

__all__ = ["Rows"]


class Rows:
    """The tables of one database, as a snapshot sees them, on one connection."""

    def __init__(self, connection: sa.Connection, dialect: DialectImpl, schema: str | None) -> None:
        self._connection = connection
        self._schema = schema
        self._chunked = dialect.chunked_values
        self.bulk = bulk_dialect(connection.dialect)
        self.tables = metadata_for(connection.dialect.name).tables

    def layout(self, table: SnapshotTable) -> ChunkLayout | None:
        """How this database cuts the table; None where it does not."""
        return chunk_layout(table.name) if self._chunked else None

    def stream(self, table: SnapshotTable, *, tenant: str | None = None) -> Iterator[Row]:
        """All rows that can be exported, a few in memory at a time, in the bytewise order of the key.

        Raises:
            MalformedRowError: a chunked row cannot be put together.
            InternalStateError: the database does not sort as it was asked to.
        """
        statement = self._select(table).where(*self._data(table, tenant)).order_by(*self._order(table))
        if table.whole is not None:
            statement = statement.where(table.whole(self._physical(table)))
        rows = self._joined(table, self.bulk.stream(self._connection, self._schema, statement))
        return _ascending(table, rows)

    def by_key(self, table: SnapshotTable, key: Sequence[str], values: Sequence[Row]) -> dict[Row, Row]:
        """The rows that have one of ``values`` in their ``key`` columns, by those values."""
        if not values:
            return {}
        columns = [self._physical(table).c[name] for name in key]
        wanted = columns[0].in_([value[0] for value in values]) if len(key) == 1 else sa.tuple_(*columns).in_(values)
        result = self._execute(self._select(table).where(wanted))
        positions = table.positions(tuple(key))
        rows = self._joined(table, map(tuple, result.all()))
        return {tuple(row[at] for at in positions): row for row in rows}

    def any(self, table: SnapshotTable, *, tenant: str | None = None) -> bool:
        """Whether the table holds a row (of the tenant)."""
        statement = sa.select(sa.literal(1)).select_from(self._physical(table)).where(*self._data(table, tenant)).limit(1)
        return self._execute(statement).first() is not None

    def count(self, table: SnapshotTable, *, tenant: str | None = None) -> int:
        """How many rows the table has (of the tenant)."""
        statement = sa.select(sa.func.count()).select_from(self._physical(table)).where(*self._data(table, tenant))
        return int(self._execute(statement).scalar_one())

    def first(self, statement: sa.Select[Any]) -> Row | None:
        """The first row of any SELECT on our tables."""
        found = self._execute(statement).first()
        return None if found is None else tuple(found)

    def written_tables(self) -> Iterator[sa.Table]:
        """Every physical table that an import writes, or must keep from being written meanwhile."""
        for table in TABLES:
            yield self._physical(table)
            layout = self.layout(table)
            if layout is not None:
                yield self.tables[layout.chunk_table.name]

    def insert(self, table: SnapshotTable, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert logical rows of the named columns as they are."""
        layout = self.layout(table)
        if layout is None:
            self.bulk.insert(self._connection, self._schema, self._physical(table), columns, rows)
            return
        for part in layout.split(columns, rows):
            self.bulk.insert(self._connection, self._schema, self.tables[part.table.name], part.columns, part.rows)

    def delete(self, table: SnapshotTable, *, tenant: str | None = None) -> int:
        """Delete all rows (of the tenant), chunks included; how many logical rows there were."""
        layout = self.layout(table)
        if layout is not None:
            self._execute(sa.delete(self.tables[layout.chunk_table.name]))
        return self._execute(sa.delete(self._physical(table)).where(*self._data(table, tenant))).rowcount

    def restart_sequence(self, table: SnapshotTable, column: str) -> None:
        self.bulk.restart_sequence(self._connection, self._schema, self._physical(table).c[column])

    def marks(self, table: SnapshotTable) -> list[Row]:
        """Key, storage key and time (epoch ms) of the marks that sweeps left; few, because they are kept for days only."""
        physical = self._physical(table)
        if table.bookkeeping is None:
            return []
        statement = sa.select(physical.c.id, physical.c.storage_key, physical.c.created_at).where(table.bookkeeping(physical))
        return [tuple(row) for row in self._execute(statement)]

    def delete_by_id(self, table: SnapshotTable, identity: str) -> None:
        """Delete one row, whatever it is."""
        physical = self._physical(table)
        self._execute(sa.delete(physical).where(physical.c.id == identity))

    def _data(self, table: SnapshotTable, tenant: str | None) -> Iterator[sa.ColumnElement[bool]]:
        """What a row of the table must be to be data (of the tenant)."""
        physical = self._physical(table)
        if table.bookkeeping is not None:
            yield sa.not_(table.bookkeeping(physical))
        if tenant is not None and table.tenant_column is not None:
            yield physical.c[table.tenant_column] == tenant

    def _physical(self, table: SnapshotTable) -> sa.Table:
        return self.tables[table.name]

    def _select(self, table: SnapshotTable) -> sa.Select[Any]:
        layout = self.layout(table)
        names = table.columns if layout is None else layout.selected(table.columns)
        return sa.select(*(self._physical(table).c[name] for name in names))

    def _order(self, table: SnapshotTable) -> Iterator[sa.ColumnElement[Any]]:
        for name in table.key:
            column = self._physical(table).c[name]
            if isinstance(column.type, sa.String):
                yield from self.bulk.bytewise(column)
            else:
                yield column

    def _joined(self, table: SnapshotTable, rows: Iterable[Row]) -> Iterator[Row]:
        layout = self.layout(table)
        if layout is None:
            return iter(rows)
        return (layout.join(table.columns, row, self._fetch) for row in rows)

    def _fetch(self, statement: sa.Select[Any], key: dict[str, Any]) -> list[Row]:
        return [tuple(row) for row in self._execute(statement, key)]

    def _execute(self, statement: sa.Executable, parameters: dict[str, Any] | None = None) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, parameters, execution_options=placed(self._schema))


def _ascending(table: SnapshotTable, rows: Iterator[Row]) -> Iterator[Row]:
    """Pass the rows on while their keys ascend: Python compares text by code points, whose order is that of the UTF-8 bytes."""
    places = table.key_positions
    before: Any = None
    for row in rows:
        key = row[places[0]] if len(places) == 1 else tuple([row[at] for at in places])
        if before is not None and not before < key:
            raise InternalStateError(
                f"The database returned rows of {table.name} out of order.",
                meta={"table": table.name, "key": str(key), "before": str(before)},
                remedy="Rebuild the table's indexes (REINDEX, OPTIMIZE TABLE) and export again.",
            )
        before = key
        yield row
