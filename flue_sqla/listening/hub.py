"""The waiting side of one Flue: hands out waiters and keeps the listener behind them."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.forking import reset_in_child
from flue_sqla.listening.task import NotificationTask
from flue_sqla.listening.thread import NotificationThread
from flue_sqla.listening.waiters import AsyncWaiter, Waiter
from flue_sqla.signals import Signals

__all__ = ["AsyncListening", "Listening"]

W = TypeVar("W", Waiter, AsyncWaiter)


class _Hub(Generic[W]):
    """The waiters that are open. ``generation`` grows with each close, so that whoever outlives a waiter notices the end."""

    def __init__(self, signals: Signals, poll_interval_ms: int) -> None:
        self.generation = 0
        self.poll_interval = poll_interval_ms / 1000
        self._signals = signals
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        reset_in_child(self)

    def forget_parent(self) -> None:
        self._lock = threading.Lock()
        self._open = set()

    def _keep(self, waiter: W) -> W:
        with self._lock:
            self._open.add(waiter)
        return waiter

    def _forget(self, waiter: W) -> None:
        with self._lock:
            self._open.discard(waiter)

    def _end_all(self) -> None:
        self.generation += 1
        with self._lock:
            waiters = list(self._open)
        for waiter in waiters:
            waiter.end()


class Listening(_Hub[Waiter]):
    """Wake-ups for threads.

    Where the database can notify, a connection of its own listens in a daemon thread, from the first waiter until :meth:`close`.
    Elsewhere, and behind everything, waiters look again after each poll interval.
    """

    def __init__(
        self, engine: sa.Engine, dialect: DialectImpl, signals: Signals, *, poll_interval_ms: int, listen_url: str | None = None
    ) -> None:
        super().__init__(signals, poll_interval_ms)
        listens = dialect.notifications and signals.notify
        self.listener = NotificationThread(engine, signals, listen_url) if listens else None

    def waiter(self, *topics: str) -> Waiter:
        """Something to wait with for any of ``topics``; makes the listener start if it does not run yet, and does not wait for it."""
        if self.listener is not None:
            self.listener.ensure()
        waiter: Waiter = Waiter(self._signals, topics, self.poll_interval, lambda: self._forget(waiter))
        return self._keep(waiter)

    def close(self) -> None:
        """End all waits and the listener; a later waiter starts it again."""
        self._end_all()
        if self.listener is not None:
            self.listener.stop()


class AsyncListening(_Hub[AsyncWaiter]):
    """:class:`Listening` for tasks of one event loop at a time; the listener is a task of that loop."""

    def __init__(
        self, engine: sa.Engine, dialect: DialectImpl, signals: Signals, *, poll_interval_ms: int, listen_url: str | None = None
    ) -> None:
        super().__init__(signals, poll_interval_ms)
        listens = dialect.notifications and signals.notify
        self.listener = NotificationTask(engine, signals, listen_url) if listens else None

    def waiter(self, *topics: str) -> AsyncWaiter:
        """As :meth:`Listening.waiter`; call it on the event loop."""
        if self.listener is not None:
            self.listener.ensure()
        waiter: AsyncWaiter = AsyncWaiter(self._signals, topics, self.poll_interval, lambda: self._forget(waiter))
        return self._keep(waiter)

    async def close(self) -> None:
        """As :meth:`Listening.close`."""
        self._end_all()
        if self.listener is not None:
            await self.listener.stop()
