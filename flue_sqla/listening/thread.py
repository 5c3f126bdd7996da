"""Hearing other processes on a thread: PostgreSQL's NOTIFY over a connection of its own."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import FlueError
from flue_sqla.forking import reset_in_child
from flue_sqla.listening.connections import driver_connection, introduce, listen_engine, open_detached, send
from flue_sqla.listening.outage import FIRST_PAUSE, Outage
from flue_sqla.listening.probe import PROBE_SECONDS, Deaf, Probe, Unsupported, explain
from flue_sqla.signals import Signals

__all__ = ["NotificationThread"]

_STOP_SECONDS = 5.0

# Connections that belong to a parent process: kept, since closing them here would end the parent's sessions.
_inherited: list[Any] = []


class NotificationThread:
    """Feeds notifications into ``signals`` from a daemon thread. All methods are safe for many threads and after a fork."""

    def __init__(self, engine: sa.Engine, signals: Signals, listen_url: str | None = None) -> None:
        self._engine = engine
        self._signals = signals
        self._listen_url = listen_url
        self._lock = threading.Lock()
        self._ear: _Ear | None = None
        self._deaf = False
        reset_in_child(self)

    @property
    def listening(self) -> bool:
        """Whether notifications arrive: the connection is up and our own probe has come through it."""
        return self._ear is not None and self._ear.hears.is_set()

    def ensure(self) -> None:
        """Start, unless it runs already or has found that nothing can be heard here. Returns at once."""
        if self._ear is not None or self._deaf:
            return
        with self._lock:
            if self._ear is None and not self._deaf:
                self._ear = _Ear(self._engine, self._signals, self._listen_url, self._give_up)
                self._ear.start()

    def wait_until_listening(self, seconds: float) -> bool:
        """Wait for :attr:`listening`, at most that many ``seconds``."""
        ear = self._ear
        return ear is not None and ear.hears.wait(seconds)

    def stop(self) -> None:
        """End the thread and close its connection; :meth:`ensure` starts again."""
        with self._lock:
            ear, self._ear, self._deaf = self._ear, None, False
        if ear is not None:
            ear.stop()

    def forget_parent(self) -> None:
        if self._ear is not None:
            _inherited.append(self._ear)
        self._lock = threading.Lock()
        self._ear = None

    def _give_up(self) -> None:
        with self._lock:
            self._ear, self._deaf = None, True


class _Ear(threading.Thread):
    """One run of the listener, from its start to its end."""

    def __init__(self, engine: sa.Engine, signals: Signals, listen_url: str | None, give_up: Callable[[], None]) -> None:
        super().__init__(name="flue-listener", daemon=True)
        self.hears = threading.Event()
        self._engine = engine
        self._signals = signals
        self._listen_url = listen_url
        self._give_up = give_up
        self._stopping = threading.Event()
        self._outage = Outage("Listening for notifications", FIRST_PAUSE)
        # A blocked poll() is woken through this pair of sockets.
        self._wake_end, self._wait_end = socket.socketpair()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._wake_end.send(b"\0")
        if threading.current_thread() is not self:
            self.join(_STOP_SECONDS)

    def run(self) -> None:
        try:
            engine = listen_engine(self._engine, self._listen_url)
            while not self._stopping.is_set():
                try:
                    self._listen(engine)
                except (Deaf, Unsupported):
                    raise
                except Exception as error:
                    # Nobody waits for this thread, and polling goes on whatever happens to it.
                    self._stopping.wait(self._outage.failed(error))
        except (Deaf, Unsupported, FlueError) as reason:
            self._give_up()
            explain(reason, direct=self._listen_url is not None)
        finally:
            self._wake_end.close()
            self._wait_end.close()

    def _listen(self, engine: sa.Engine) -> None:
        """One connection, from its opening to its loss or our end."""
        probe = Probe()
        introduce(self._engine)
        opened = open_detached(engine)
        try:
            connection = _psycopg_connection(driver_connection(engine, opened))
            connection.autocommit = True
            connection.execute(f'LISTEN "{self._signals.channel}"')
            send(self._engine, self._signals.channel, probe.payload)
            self._pump(connection, probe, until=time.monotonic() + PROBE_SECONDS)
            if self._stopping.is_set():
                return
            if not probe.arrived:
                raise Deaf if self._outage.never_worked else ConnectionError("our own notification does not arrive any more")
            self._outage.recovered()
            self.hears.set()
            # Whatever was committed while we did not listen.
            self._signals.wake_all()
            self._pump(connection, probe, until=None)
        finally:
            self.hears.clear()
            with contextlib.suppress(Exception):
                opened.close()

    def _pump(self, connection: Any, probe: Probe, until: float | None) -> None:
        """Take in notifications until we are stopped or, given ``until``, until the probe arrived or that time has passed."""
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._wait_end, select.POLLIN)
        while not self._stopping.is_set() and (until is None or not probe.arrived):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            poll.poll(None if left is None else left * 1000)
            # The pq layer, since psycopg's own generator cannot be woken from another thread.
            connection.pgconn.consume_input()
            while (notification := connection.pgconn.notifies()) is not None:
                payload = notification.extra.decode("ascii", "replace")
                if not probe.takes(payload):
                    self._signals.wake(payload)


def _psycopg_connection(connection: Any) -> Any:
    # By name: importing the driver here would demand that it is installed.
    if type(connection).__module__.partition(".")[0] != "psycopg":
        raise Unsupported
    return connection
