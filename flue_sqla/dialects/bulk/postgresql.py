"""PostgreSQL: COPY in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.bulk.base import BulkDialect, placed
from flue_sqla.errors import ConfigurationError

__all__ = ["PostgreSQLBulk"]


class PostgreSQLBulk(BulkDialect):
    """COPY streams row by row in both directions, and writes identity columns as given (as OVERRIDING SYSTEM VALUE would)."""

    nul_in_text: ClassVar[bool] = False

    def bytewise(self, column: sa.Column[Any]) -> Sequence[sa.ColumnElement[Any]]:
        return (sa.collate(column, "C"),)

    def stream(self, connection: sa.Connection, schema: str | None, statement: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
        # The types that the columns really have: an adopted table may declare an equivalent one.
        with connection.execute(statement.limit(0), execution_options=placed(schema)) as result:
            types = [column[1] for column in result.cursor.description] if result.cursor is not None else []
        compiled = statement.compile(
            connection, schema_translate_map=placed(schema)["schema_translate_map"] or None, render_schema_translate=bool(schema)
        )
        # Without parameters the driver sends the text as it is, doubled percent signs included.
        query = str(compiled) if compiled.params else str(compiled).replace("%%", "%")
        command = f"COPY ({query}) TO STDOUT (FORMAT BINARY)"
        with _wrapped(connection, command), _cursor(connection) as cursor, cursor.copy(command, compiled.params) as copy:
            copy.set_types(types)
            yield from copy.rows()

    def insert(
        self, connection: sa.Connection, schema: str | None, table: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        if not rows:
            return
        preparer = connection.dialect.identifier_preparer
        names = ", ".join(preparer.quote(column) for column in columns)
        command = f"COPY {_qualified(connection, schema, table)} ({names}) FROM STDIN"
        with _wrapped(connection, command), _cursor(connection) as cursor, cursor.copy(command) as copy:
            write_row = copy.write_row
            for row in rows:
                write_row(row)

    def restart_sequence(self, connection: sa.Connection, schema: str | None, column: sa.Column[Any]) -> None:
        # setval survives a rollback, so it must never lower the counter: a number that was given once is not given again.
        table = column.table
        assert isinstance(table, sa.Table)
        sequence = sa.func.pg_get_serial_sequence(_qualified(connection, schema, table), column.name)
        highest = sa.select(sa.func.max(column).label("value")).subquery()
        last = sa.func.coalesce(sa.func.pg_sequence_last_value(sa.cast(sequence, _RegClass())), 0)
        statement = sa.select(sa.func.setval(sequence, highest.c.value)).where(highest.c.value > last)
        connection.execute(statement, execution_options=placed(schema))

    @contextmanager
    def exclusive(self, connection: sa.Connection, schema: str | None, tables: Sequence[sa.Table]) -> Iterator[None]:
        # Readers may go on; every writer waits, and so does SELECT FOR UPDATE.
        names = ", ".join(_qualified(connection, schema, table) for table in tables).replace("%", "%%")
        connection.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
        yield


class _RegClass(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "regclass"


def _qualified(connection: sa.Connection, schema: str | None, table: sa.Table) -> str:
    """The table's quoted name as plain text: SQLAlchemy doubles percent signs for the driver."""
    preparer = connection.dialect.identifier_preparer
    name = preparer.quote(table.name)
    return (f"{preparer.quote_schema(schema)}.{name}" if schema else name).replace("%%", "%")


@contextmanager
def _wrapped(connection: sa.Connection, command: str) -> Iterator[None]:
    """Errors of the driver as SQLAlchemy raises them."""
    dialect = connection.dialect
    driver_error: type[Exception] = dialect.loaded_dbapi.Error
    try:
        yield
    except driver_error as error:
        lost = dialect.is_disconnect(error, connection.connection.driver_connection, None)  # type: ignore[arg-type]
        raise DBAPIError.instance(
            command, None, error, driver_error, hide_parameters=True, connection_invalidated=lost, dialect=dialect
        ) from error


def _cursor(connection: sa.Connection) -> Any:
    cursor = connection.connection.cursor()
    if not hasattr(cursor, "copy"):
        raise ConfigurationError(
            f"The driver {connection.dialect.driver!r} cannot COPY.",
            meta={"driver": connection.dialect.driver},
            remedy="Use postgresql+psycopg:// for snapshots.",
        )
    return cursor
