"""Calling back right after a commit that somebody else makes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, MutableMapping

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["on_commit"]

Callback = Callable[[], None]


class _Hook:
    """The callbacks that wait for the end of one session's or connection's transaction.

    A savepoint that is rolled back takes those with it that were added since it began; a released one changes nothing.
    """

    def __init__(self) -> None:
        self._pending: list[Callback] = []
        self._marks: MutableMapping[Hashable, int] = weakref.WeakKeyDictionary()

    def add(self, callback: Callback) -> None:
        self._pending.append(callback)

    def mark(self, savepoint: Hashable) -> None:
        self._marks[savepoint] = len(self._pending)

    def drop_since(self, savepoint: Hashable) -> None:
        # Of a savepoint without a mark everything was added since: it is older than this hook.
        del self._pending[self._marks.get(savepoint, 0) :]

    def drop(self) -> None:
        self._pending.clear()
        self._marks.clear()

    def run(self) -> None:
        pending, self._pending = self._pending, []
        for callback in pending:
            callback()


class _SessionHook(_Hook):
    """Listens to a session, whose events tell of savepoints and of the transaction alike."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        event.listen(session, "after_transaction_create", self.created)
        event.listen(session, "after_commit", self.committed)
        event.listen(session, "after_soft_rollback", self.rolled_back)
        event.listen(session, "after_transaction_end", self.ended)

    def created(self, _session: Session, transaction: SessionTransaction) -> None:
        self.mark(transaction)

    def committed(self, session: Session) -> None:
        if not session.in_nested_transaction():
            self.run()

    def rolled_back(self, _session: Session, transaction: SessionTransaction) -> None:
        self.drop_since(transaction)

    def ended(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:  # closing a session rolls back without an event of its own
            self.drop()


class _ConnectionHook(_Hook):
    """SQLAlchemy's Core tells of a commit only before it happens, so the hook makes that very commit and calls back after it.

    The commit that follows finds no open transaction and does nothing.
    """

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__()
        self._marks = {}
        event.listen(connection, "commit", self.commit)
        event.listen(connection, "rollback", self.rolled_back)
        event.listen(connection, "savepoint", self.savepoint)
        event.listen(connection, "rollback_savepoint", self.savepoint_rolled_back)

    def commit(self, connection: sa.Connection) -> None:
        if self._pending:
            try:
                connection.dialect.do_commit(connection.connection)
            except BaseException as error:
                # What SQLAlchemy does around its own commit: the host gets the error that it knows.
                connection._handle_dbapi_exception(error, None, None, None, None)
            self.run()
        self._marks.clear()

    def rolled_back(self, _connection: sa.Connection) -> None:
        self.drop()

    def savepoint(self, connection: sa.Connection, _name: str | None) -> None:
        # The event comes before SQLAlchemy gives the savepoint its name, which will end with the next number. Should a later release
        # count elsewhere, the mark is not found, and a rollback to the savepoint forgets too much rather than too little.
        number = getattr(connection, "_Connection__savepoint_seq", None)
        if number is not None:
            self.mark(f"sa_savepoint_{number + 1}")

    def savepoint_rolled_back(self, _connection: sa.Connection, name: str, _context: None) -> None:
        self.drop_since(name)


# One hook per session or connection, however often the host binds it.
_hooks: weakref.WeakKeyDictionary[Session | sa.Connection, _Hook] = weakref.WeakKeyDictionary()


def on_commit(target: Session | sa.Connection, callback: Callback) -> None:
    """Call ``callback`` after the current transaction of ``target`` is committed; a rollback, also to a savepoint, forgets it."""
    hook = _hooks.get(target)
    if hook is None:
        hook = _hooks[target] = _ConnectionHook(target) if isinstance(target, sa.Connection) else _SessionHook(target)
    hook.add(callback)
