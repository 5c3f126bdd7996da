"""Rows as they are stored, read and damaged behind the library's back (for tests only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

__all__ = ["DatabaseRows", "RunOnConnection"]

T = TypeVar("T")

#: The stamp and the migration's version say what the tables are; they belong to no test.
BOOKKEEPING = frozenset({"flue_meta", "flue_alembic_version"})


class RunOnConnection(Protocol):
    """Runs a function on a connection inside one committed transaction."""

    def __call__(self, work: Callable[[sa.Connection], T], /) -> T: ...


class DatabaseRows:
    """Rows of a real database by physical table name, without any model: what is tested must not be what looks."""

    def __init__(self, run: RunOnConnection, schema: str | None = None) -> None:
        self._run = run
        self._schema = schema

    def select(self, table: str, /, **where: Any) -> list[dict[str, Any]]:
        source = self._table(table, where)
        statement = sa.select(sa.text("*")).select_from(source).where(*_conditions(source, where))
        return self._run(lambda connection: [dict(row) for row in connection.execute(statement).mappings()])

    def insert(self, table: str, /, **values: Any) -> None:
        statement = sa.insert(self._table(table, values)).values(**values)
        self._run(lambda connection: connection.execute(statement).close())

    def update(self, table: str, where: Mapping[str, Any], /, **values: Any) -> int:
        source = self._table(table, {**where, **values})
        statement = sa.update(source).where(*_conditions(source, where)).values(**values)
        return self._run(lambda connection: connection.execute(statement).rowcount)

    def delete(self, table: str, /, **where: Any) -> int:
        source = self._table(table, where)
        statement = sa.delete(source).where(*_conditions(source, where))
        return self._run(lambda connection: connection.execute(statement).rowcount)

    def erase_everything(self) -> None:
        """Deletes every row of every ``flue_*`` table except the bookkeeping; the suite calls it between two tests."""
        self._run(self._erase)

    def _erase(self, connection: sa.Connection) -> None:
        for name in self._names(connection):
            connection.execute(sa.delete(sa.table(name, schema=self._schema)))

    def occupied(self) -> list[str]:
        """The names of ``flue_*`` tables, bookkeeping excepted, that hold at least one row."""

        def look(connection: sa.Connection) -> list[str]:
            return [
                name
                for name in self._names(connection)
                if connection.execute(sa.select(sa.literal(1)).select_from(sa.table(name, schema=self._schema)).limit(1)).first()
            ]

        return self._run(look)

    def _names(self, connection: sa.Connection) -> list[str]:
        names = (name for name in sa.inspect(connection).get_table_names(self._schema) if name.startswith("flue_"))
        # Chunk tables first: one of them refers to its parent by a foreign key.
        return sorted((name for name in names if name not in BOOKKEEPING), key=lambda name: (not name.endswith("_chunks"), name))

    def _table(self, name: str, columns: Mapping[str, Any]) -> sa.TableClause:
        return sa.table(name, *(sa.column(column) for column in columns), schema=self._schema)


def _conditions(table: sa.TableClause, where: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name].is_(None) if value is None else table.c[name] == value for name, value in where.items()]
