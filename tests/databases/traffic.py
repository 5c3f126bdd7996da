"""What a call sends to the server: statements, their BEGIN and COMMIT, and the bytes of their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

__all__ = ["Traffic"]


class Traffic:
    """Counts from the moment it is made; ``measured()`` starts again from zero."""

    def __init__(self, engine: sa.Engine) -> None:
        self.statements: list[str] = []
        self.trips = 0
        self.bytes = 0
        self.rows_sent = 0
        event.listen(engine, "before_cursor_execute", self._statement)
        for name in ("begin", "commit", "rollback"):
            event.listen(engine, name, self._transaction)

    def _statement(self, _c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool) -> None:
        if statement.startswith("BEGIN"):
            return  # SQLite's, counted with the transaction
        self.statements.append(statement)
        self.trips += 1
        self.rows_sent += len(parameters) if executemany else 1
        self.bytes += _size(parameters)

    def _transaction(self, connection: sa.Connection) -> None:
        # In AUTOCOMMIT nothing is sent for the transaction that SQLAlchemy keeps account of.
        self.trips += connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT"

    @contextmanager
    def measured(self) -> Iterator[Traffic]:
        self.statements, self.trips, self.bytes, self.rows_sent = [], 0, 0, 0
        yield self

    @contextmanager
    def at_most(self, trips: int) -> Iterator[None]:
        with self.measured():
            yield
        assert self.trips <= trips, f"{self.trips} round trips, budget {trips}: {self.statements}"


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return sum(map(_size, value))
    return len(value) if isinstance(value, bytes) else 8
