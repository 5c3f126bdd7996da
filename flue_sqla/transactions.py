"""The transaction rules: one call of its own, a unit of work, or a transaction that the host owns."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from flue_sqla.clock import Clock
from flue_sqla.dialects import DialectImpl, Fault
from flue_sqla.direct import Direct, Unsent
from flue_sqla.errors import DatabaseUnavailableError, FlueError, InvalidInputError, OutcomeUnknown, SerializationConflict
from flue_sqla.repositories.scope import Executor, Lost, Operation, Parameters
from flue_sqla.signals import Signals

__all__ = ["EngineScope", "TransactionScope"]

T = TypeVar("T")

_AUTOCOMMIT: Final = {"isolation_level": "AUTOCOMMIT"}
_NO_BEGIN: Final = {"flue_begin": None}
"""No BEGIN on a SQLite engine of ours: each statement is a transaction of SQLite's own. A host's engine begins one as ever."""

_ATTEMPTS = 10
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.25
_LONGEST_WAIT = 60.0
"""No further attempt after so many seconds: each may itself have waited for a lock as long as the database lets it."""


class _Singles(Executor):
    """Statements that are each committed by themselves: sent directly where that can be, the others on one connection in AUTOCOMMIT."""

    __slots__ = ("_connection", "_scope")

    def __init__(self, scope: EngineScope) -> None:
        self._scope = scope
        self._connection: sa.Connection | None = None

    @property
    def connection(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._scope.checked_out(_AUTOCOMMIT)
        return self._connection

    def execute(self, statement: sa.Executable, parameters: Parameters = None) -> sa.CursorResult[Any]:
        if self._connection is None:
            answer = self._scope.direct.execute(statement, parameters)
            if answer is not None:
                return answer  # type: ignore[return-value]  # rows and rowcount: all that is asked of a result here
        return Executor(self.connection, self._scope.schema).execute(statement, parameters)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class EngineScope:
    """Each operation is a transaction of its own on the engine. Safe for many threads and, through the greenlet bridge, for tasks."""

    in_transaction = False

    def __init__(self, engine: sa.Engine, dialect: DialectImpl, clock: Clock, signals: Signals, schema: str | None) -> None:
        self.engine = engine
        self.dialect = dialect
        self.clock = clock
        self.signals = signals
        self.schema = schema
        self.direct = Direct(engine, dialect, schema)

    def read(self, operation: Operation[T]) -> T:
        return self._attempt(self._run_read, operation, None, Lost.REPLAY, writes=False, directly=True)

    def snapshot(self, operation: Operation[T]) -> T:
        return self._attempt(self._run_snapshot, operation, None, Lost.REPLAY, writes=False)

    def single(self, operation: Operation[T], *, confirm: Operation[T] | None = None, lost: Lost = Lost.REPLAY) -> T:
        return self._attempt(self._run_single, operation, confirm, lost, directly=True)

    def write(self, operation: Operation[T], *, confirm: Operation[T] | None = None, lost: Lost = Lost.REPLAY) -> T:
        return self._attempt(self._run_write, operation, confirm, lost)

    def after_commit(self, callback: Callable[[], None]) -> None:
        callback()

    @contextmanager
    def connect(self, **options: Any) -> Iterator[sa.Connection]:
        """A connection that is not known to be dead, with execution options that end with it."""
        connection = self.checked_out(options)
        try:
            yield connection
        finally:
            connection.close()

    def checked_out(self, options: Mapping[str, Any]) -> sa.Connection:
        """A connection that is not known to be dead, for the caller to close.

        Raises:
            Unsent: none could be had.
        """
        try:
            connection = self.engine.connect()
        except (DBAPIError, OSError) as error:  # asyncpg raises a refused connection as it is
            raise Unsent(error) from error
        try:
            if self.dialect.peer_closed(connection.connection.driver_connection):
                connection.invalidate()
            return connection.execution_options(**options) if options else connection
        except (DBAPIError, OSError) as error:
            connection.close()
            raise Unsent(error) from error
        except BaseException:  # cancelled: on the async face each of these steps may wait
            connection.close()
            raise

    def open(self, **options: Any) -> sa.Connection:
        """A connection for the caller to close. As :meth:`connect`, and tried a bounded number of times.

        Raises:
            DatabaseUnavailableError: no connection could be had.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self.checked_out(options)
            except Unsent as unsent:
                failure = unsent.cause
            if attempt + 1 < _ATTEMPTS:
                _pause(attempt)
        raise self._given_up(failure, Fault.LOST, doubtful=False) from failure

    def write_options(self) -> dict[str, Any]:
        """The execution options of a write transaction."""
        level = self.dialect.write_isolation
        return {"isolation_level": level} if level else {}

    def _run_read(self, operation: Operation[T]) -> T:
        with self.connect(**(_AUTOCOMMIT if self.dialect.autocommit_is_free else _NO_BEGIN)) as connection:
            return operation(Executor(connection, self.schema))

    def _run_snapshot(self, operation: Operation[T]) -> T:
        with self.connect(**self.dialect.snapshot_options) as connection, connection.begin():
            self.dialect.begin_snapshot(connection)
            return operation(Executor(connection, self.schema))

    def _run_single(self, operation: Operation[T]) -> T:
        if not self.dialect.autocommit_is_free:
            with self.connect(**_NO_BEGIN) as connection, connection.begin():
                return operation(Executor(connection, self.schema))
        with self.connect(**_AUTOCOMMIT) as connection:
            return operation(Executor(connection, self.schema))

    def _run_directly(self, operation: Operation[T]) -> T:
        executor = _Singles(self)
        try:
            return operation(executor)
        finally:
            executor.close()

    def _run_write(self, operation: Operation[T]) -> T:
        with self.connect(**self.write_options()) as connection, connection.begin():
            executor = Executor(connection, self.schema)
            self.dialect.begin_write(executor)
            return operation(executor)

    def _attempt(
        self,
        run: Callable[[Operation[T]], T],
        operation: Operation[T],
        confirm: Operation[T] | None,
        lost: Lost,
        *,
        writes: bool = True,
        directly: bool = False,
    ) -> T:
        doubtful = False
        failure: Exception
        last = time.monotonic() + _LONGEST_WAIT
        for attempt in range(_ATTEMPTS):
            try:
                if attempt == 0 and directly and self.direct.open():
                    return self._run_directly(operation)
                if not doubtful or confirm is None:
                    return run(operation)
                return run(confirm) or run(operation) or run(confirm)
            except Unsent as unsent:
                failure, fault = unsent.cause, Fault.LOST
            except DBAPIError as error:
                failure, fault = error, self.dialect.fault(error)
                if fault is Fault.OTHER:
                    refusal = self.dialect.refusal(error)
                    if refusal is None:
                        raise
                    raise refusal from error
                if fault is Fault.LOST and writes:
                    if lost is Lost.UNKNOWN:
                        raise _outcome_unknown(error) from error
                    doubtful = True
            if attempt + 1 == _ATTEMPTS or time.monotonic() > last:
                break
            _pause(attempt)
        raise self._given_up(failure, fault, doubtful) from failure

    def _given_up(self, failure: Exception, fault: Fault, doubtful: bool) -> FlueError:
        if doubtful:
            return _outcome_unknown(failure)
        if fault is Fault.CONFLICT:
            return _conflict(failure)
        remedy = self.dialect.unreachable(self.engine.url)
        return DatabaseUnavailableError(f"The database cannot be reached: {_first_line(failure)}", remedy=remedy)


class TransactionScope:
    """Operations join one transaction that ends outside of them; nothing is retried, since what came before would be lost."""

    in_transaction = True

    def __init__(
        self,
        target: sa.Connection | Session,
        dialect: DialectImpl,
        clock: Clock,
        signals: Signals,
        schema: str | None,
        *,
        on_commit: Callable[[Callable[[], None]], None],
    ) -> None:
        self.dialect = dialect
        self.clock = clock
        self.signals = signals
        self.schema = schema
        self._executor = Executor(target, schema)
        self._on_commit = on_commit
        self._ended = False

    def read(self, operation: Operation[T]) -> T:
        return self._run(operation)

    def snapshot(self, operation: Operation[T]) -> T:
        return self._run(operation)

    def single(self, operation: Operation[T], *, confirm: Operation[T] | None = None, lost: Lost = Lost.REPLAY) -> T:
        return self._run(operation)

    def write(self, operation: Operation[T], *, confirm: Operation[T] | None = None, lost: Lost = Lost.REPLAY) -> T:
        def locked(executor: Executor) -> T:
            self.dialect.begin_write(executor)
            return operation(executor)

        return self._run(locked)

    def after_commit(self, callback: Callable[[], None]) -> None:
        self._on_commit(callback)

    def end(self) -> None:
        """Refuse further use: the transaction is over."""
        self._ended = True

    def _run(self, operation: Operation[T]) -> T:
        if self._ended:
            raise InvalidInputError("This unit of work has ended.", remedy="Use the unit inside its `with` block, or begin a new one.")
        try:
            return operation(self._executor)
        except DBAPIError as error:
            raise typed(error, self.dialect) from error


def typed(error: DBAPIError, dialect: DialectImpl) -> FlueError | DBAPIError:
    """What a driver's error means to somebody who owns the transaction."""
    fault = dialect.fault(error)
    if fault is Fault.CONFLICT:
        return _conflict(error)
    if fault is Fault.LOST:
        return _outcome_unknown(error)
    return dialect.refusal(error) or error


def _conflict(error: Exception) -> SerializationConflict:
    return SerializationConflict(f"Another transaction was faster, and nothing of this one was written: {_first_line(error)}")


def _outcome_unknown(error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(f"The connection broke before the answer came, so the outcome is unknown: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip().partition("\n")[0] or type(cause).__name__


def _pause(attempt: int) -> None:
    seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0)
    if in_greenlet():
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)
