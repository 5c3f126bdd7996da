"""What a repository method runs on: somebody's connection, and the transaction rules around it.

A repository is plain synchronous code over an :class:`Executor`. Which transaction that executor belongs to (one of the call's own, a
unit of work, the host's) is the :class:`Scope`'s business, so that no rule is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from flue_sqla.clock import Clock
from flue_sqla.dialects import DialectImpl
from flue_sqla.signals import Signals

__all__ = ["Executor", "Lost", "Operation", "Parameters", "Scope"]

T = TypeVar("T")

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""Of one statement: a row, several rows, or none."""


class Executor:
    """A connection or session together with the schema that our tables live in.

    Our own translate map goes with every statement, so a host's map never moves our tables.
    """

    __slots__ = ("_options", "_target")

    def __init__(self, target: sa.Connection | Session, schema: str | None = None) -> None:
        self._target = target
        # The count of an INSERT is gone with its cursor unless it is asked for; insert_ignore() tells by it whether there was a row.
        self._options: Mapping[str, Any] = {"schema_translate_map": {None: schema} if schema else {}, "preserve_rowcount": True}

    @property
    def connection(self) -> sa.Connection:
        """The connection that the statements go to."""
        return self._target.connection() if isinstance(self._target, Session) else self._target

    def execute(self, statement: sa.Executable, parameters: Parameters = None) -> sa.CursorResult[Any]:
        """Execute one statement; the result is a cursor result on both kinds of target."""
        return self._target.execute(statement, parameters, execution_options=self._options)  # type: ignore[return-value]


Operation = Callable[[Executor], T]


class Lost(Enum):
    """What a repository wants done when the connection broke after a statement was sent."""

    REPLAY = "replay"
    """Run the operation again: it is idempotent, or its ``confirm`` can tell that the first one arrived."""
    UNKNOWN = "unknown"
    """Raise :class:`~flue_sqla.errors.OutcomeUnknown`: neither a replay nor a second look can tell."""


class Scope(Protocol):
    """The transaction rules around an operation."""

    @property
    def dialect(self) -> DialectImpl: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def signals(self) -> Signals: ...

    @property
    def in_transaction(self) -> bool:
        """Whether operations join a transaction that somebody else commits (a unit of work or a host's session)."""
        ...

    def read(self, operation: Operation[T]) -> T:
        """Run one SELECT."""
        ...

    def snapshot(self, operation: Operation[T]) -> T:
        """Run several SELECTs that see one state of the database."""
        ...

    def single(self, operation: Operation[T], *, confirm: Operation[T] | None = None, lost: Lost = Lost.REPLAY) -> T:
        """Run one statement that writes, committed by itself; of several rows that it returns, all are to be taken.

        ``confirm`` is asked after a lost answer whether the operation had arrived after all, before it is replayed and again when the
        replay returned nothing (a failed gate).
        """
        ...

    def write(self, operation: Operation[T], *, confirm: Operation[T] | None = None, lost: Lost = Lost.REPLAY) -> T:
        """Run several statements in one write transaction; conflicts run the whole operation again, a bounded number of times."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once what was written is committed: at once, or right after the unit's or the host's commit."""
        ...
