"""Calling back right after a commit that somebody else makes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

__all__ = ["on_commit"]

Callback = Callable[[], None]


class _Hook:
    """The callbacks that wait for the end of one session's or connection's transaction."""

    def __init__(self) -> None:
        self._pending: list[Callback] = []

    def add(self, callback: Callback) -> None:
        self._pending.append(callback)

    def run(self, *_: Any) -> None:
        pending, self._pending = self._pending, []
        for callback in pending:
            callback()

    def drop(self, *_: Any) -> None:
        self._pending.clear()


class _ConnectionHook(_Hook):
    """SQLAlchemy's Core tells of a commit only before it happens, so the hook makes that very commit and calls back after it.

    The commit that follows finds no open transaction and does nothing.
    """

    def commit(self, connection: sa.Connection) -> None:
        if self._pending:
            connection.dialect.do_commit(connection.connection)
            self.run()


# One hook per session or connection, however often the host binds it.
_hooks: weakref.WeakKeyDictionary[Session | sa.Connection, _Hook] = weakref.WeakKeyDictionary()


def on_commit(target: Session | sa.Connection, callback: Callback) -> None:
    """Call ``callback`` after the current transaction of ``target`` is committed; a rollback forgets it."""
    hook = _hooks.get(target)
    if hook is None:
        hook = _hooks[target] = _listening(target)
    hook.add(callback)


def _listening(target: Session | sa.Connection) -> _Hook:
    if isinstance(target, sa.Connection):
        connection_hook = _ConnectionHook()
        event.listen(target, "commit", connection_hook.commit)
        event.listen(target, "rollback", connection_hook.drop)
        return connection_hook
    hook = _Hook()
    event.listen(target, "after_commit", hook.run)
    event.listen(target, "after_rollback", hook.drop)
    return hook
