"""One autocommitted statement, sent by the driver's own cursor.

SQLAlchemy writes the statement, and its pool hands out and takes back the connection. Left out is what stands between them: a
Connection, a transaction of which nothing is sent, an execution context, a cursor over the driver's cursor where that is awaited, and
the description of columns that are known. On PostgreSQL that is a third of the processor time of an operation, all of it under the
interpreter's lock.

Nobody must notice, so this way is taken only where nobody would: no listener on the engine or its dialect, no log of statements, no
options on the engine, a driver whose cursor needs no preparation, and a statement whose values need none. Everything else, and every
second attempt, goes SQLAlchemy's own way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Dialect, IteratorResult
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType, TypeEngine
from sqlalchemy.util import await_only

from flue_sqla.dialects import DialectImpl
from flue_sqla.repositories.scope import Parameters

__all__ = ["Answer", "Direct", "Unsent"]

_PLAIN: Final = (sa.String, sa.Integer, sa.Boolean, NullType)
_NO_COLUMNS: Final = SimpleResultMetaData(())


class Unsent(Exception):
    """No connection could be had, so nothing was sent."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Answer(IteratorResult[Any]):
    """All rows of an answer, and how many rows the statement touched."""

    def __init__(self, columns: SimpleResultMetaData, rows: Iterable[Any], rowcount: int) -> None:
        super().__init__(columns, iter(rows))
        self.rowcount = rowcount


class _Compiled:
    """A statement as the driver takes it."""

    __slots__ = ("_columns", "constants", "text")

    def __init__(self, text: str, constants: Mapping[str, Any]) -> None:
        self.text = text
        self.constants = constants
        # Known after the first answer: describing a result takes the driver long.
        self._columns: SimpleResultMetaData | None = None

    def columns(self, cursor: Any) -> SimpleResultMetaData:
        """Those of the answer that ``cursor`` has just got."""
        if self._columns is None:
            description = cursor.description
            self._columns = SimpleResultMetaData([column[0] for column in description]) if description else _NO_COLUMNS
        return self._columns


class Direct:
    """The direct way of one engine. Safe for threads, and for tasks through the greenlet bridge."""

    def __init__(self, engine: sa.Engine, impl: DialectImpl, schema: str | None) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._impl = impl
        self._able = impl.autocommit_is_free and engine.dialect.driver in impl.plain_cursors
        self._options: dict[str, Any] = {"dialect": engine.dialect}
        if schema:
            self._options |= {"schema_translate_map": {None: schema}, "render_schema_translate": True}
        # Under the names of the parameters, since these make the columns of an INSERT; None for what cannot go this way.
        self._compiled: WeakKeyDictionary[sa.Executable, dict[tuple[str, ...], _Compiled | None]] = WeakKeyDictionary()

    def open(self) -> bool:
        """Whether nobody watches the engine. To be asked for each call: listeners and log levels come and go."""
        engine = self._engine
        return (
            self._able
            # Where SQLAlchemy keeps whether there are listeners, on a class or on an object. Should it ever keep that elsewhere: closed.
            and not getattr(engine, "_has_events", True)
            and not getattr(engine.dialect, "_has_events", True)
            and not getattr(sa.Connection, "_has_events", True)
            and not engine.get_execution_options()
            and not engine.logger.isEnabledFor(logging.INFO)
        )

    def execute(self, statement: sa.Executable, parameters: Parameters) -> Answer | None:
        """Send ``statement`` on a connection of its own, in AUTOCOMMIT, and take the whole answer; None if it has to go the other way.

        Raises:
            Unsent: no connection could be had.
            DBAPIError: as from SQLAlchemy's own way.
        """
        if parameters is not None and not isinstance(parameters, dict):
            return None
        compiled = self._form(statement, tuple(parameters or ()))
        if compiled is None:
            return None
        values = {**compiled.constants, **parameters} if parameters else compiled.constants
        connection, autocommit = self._checked_out()
        try:
            if self._dialect.is_async:
                answer = await_only(_awaited_answer(connection.driver_connection, compiled, values))
            else:
                answer = _answer(connection.driver_connection, compiled, values)
        except Exception as error:
            raise self._given_back_after(connection, autocommit, error, compiled.text, values) from error
        except BaseException:  # cancelled or interrupted in the middle: nobody knows what the connection would answer next
            connection.invalidate()
            raise
        self._give_back(connection, autocommit)
        return answer

    # -- statements -------------------------------------------------------------------------------------------------------------

    def _form(self, statement: sa.Executable, names: tuple[str, ...]) -> _Compiled | None:
        forms = self._compiled.get(statement)
        if forms is None:
            # It may have been made for this call alone; SQLAlchemy's cache knows its like. One that comes again is worth compiling.
            self._compiled[statement] = {}
            return None
        try:
            return forms[names]
        except KeyError:
            forms[names] = form = self._compile(cast("sa.ClauseElement", statement), names)
            return form

    def _compile(self, statement: sa.ClauseElement, names: tuple[str, ...]) -> _Compiled | None:
        compiled = statement.compile(column_keys=list(names), **self._options)
        if not isinstance(compiled, SQLCompiler) or not _is_simple(compiled) or not _are_plain(_types(statement, compiled), self._dialect):
            return None
        values = compiled.construct_params(dict.fromkeys(names))
        return _Compiled(str(compiled), {name: value for name, value in values.items() if name not in names})

    # -- connections ------------------------------------------------------------------------------------------------------------

    def _checked_out(self) -> tuple[PoolProxiedConnection, bool]:
        """A connection in AUTOCOMMIT that is not known to be dead, and whether it had been in AUTOCOMMIT before."""
        connection: PoolProxiedConnection | None = None
        try:
            connection = self._engine.raw_connection()
            if self._impl.peer_closed(connection.driver_connection):
                connection.invalidate()
                connection = self._engine.raw_connection()
            driver = _driver(connection)
            before = driver.autocommit
            driver.autocommit = True
        except BaseException as error:
            if connection is not None and connection.is_valid:
                connection.invalidate()
            if isinstance(error, (self._dialect.loaded_dbapi.Error, DBAPIError, OSError)):
                raise Unsent(error) from error
            raise
        return connection, before

    def _give_back(self, connection: PoolProxiedConnection, autocommit: bool) -> None:
        try:
            _driver(connection).autocommit = autocommit
        except BaseException as error:
            connection.invalidate()  # else its next user would find it in AUTOCOMMIT
            if not isinstance(error, Exception):
                raise
        else:
            connection.close()

    def _given_back_after(
        self, connection: PoolProxiedConnection, autocommit: bool, error: Exception, text: str, values: Mapping[str, Any]
    ) -> Exception:
        """The error as SQLAlchemy would raise it; the connection is back in the pool, or out of it if it broke."""
        errors = self._dialect.loaded_dbapi.Error
        lost = isinstance(error, errors) and self._dialect.is_disconnect(cast("Any", error), connection, None)
        if lost:
            connection.invalidate(error)
        else:
            self._give_back(connection, autocommit)
        if not isinstance(error, errors):
            return error
        hidden = self._engine.hide_parameters
        return DBAPIError.instance(
            text, dict(values), error, errors, hide_parameters=hidden, connection_invalidated=lost, dialect=self._dialect
        )


def _answer(driver: Any, compiled: _Compiled, values: Mapping[str, Any]) -> Answer:
    cursor = driver.cursor()
    try:
        cursor.execute(compiled.text, values)
        columns = compiled.columns(cursor)
        return Answer(columns, () if columns is _NO_COLUMNS else cursor.fetchall(), cursor.rowcount)
    finally:
        cursor.close()


async def _awaited_answer(driver: Any, compiled: _Compiled, values: Mapping[str, Any]) -> Answer:
    """The same, awaited at once: with SQLAlchemy's cursor each step would be a turn between greenlets of its own."""
    cursor = driver.cursor()
    try:
        await cursor.execute(compiled.text, values)
        columns = compiled.columns(cursor)
        return Answer(columns, () if columns is _NO_COLUMNS else await cursor.fetchall(), cursor.rowcount)
    finally:
        await cursor.close()


def _driver(connection: PoolProxiedConnection) -> DBAPIConnection:
    driver = connection.dbapi_connection
    assert driver is not None  # it is, after invalidate() only
    return driver


def _is_simple(compiled: SQLCompiler) -> bool:
    """Whether text and values are sent as they are: nothing expanded, made up or fetched around the statement."""
    around = compiled.post_compile_params or compiled.literal_execute_params or compiled.insert_prefetch or compiled.update_prefetch
    return not (around or compiled.positional or compiled.escaped_bind_names or compiled.implicit_returning)


def _types(statement: sa.ClauseElement, compiled: SQLCompiler) -> Iterator[TypeEngine[Any]]:
    """The types of all values that go in or come out."""
    yield from (value.type for value in compiled.binds.values())
    # Of a copy: an UPDATE remembers the columns that it was once asked for, and passes them on to what is built from it, RETURNING or not.
    yield from (column.type for column in getattr(copy(statement), "exported_columns", ()))


def _are_plain(types: Iterable[TypeEngine[Any]], dialect: Dialect) -> bool:
    """Whether values of all these types are for Python what they are for the driver."""
    kinds = [type_.dialect_impl(dialect) for type_ in types]
    return all(
        isinstance(kind, _PLAIN) and kind.bind_processor(dialect) is None and kind.result_processor(dialect, None) is None for kind in kinds
    )
