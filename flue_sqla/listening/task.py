"""Hearing other processes on an event loop: the twin of :mod:`flue_sqla.listening.thread`, with psycopg's or asyncpg's own support."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.util import greenlet_spawn

from flue_sqla.errors import FlueError
from flue_sqla.listening.connections import async_listen_engine, driver_connection, introduce, open_detached, send
from flue_sqla.listening.outage import FIRST_PAUSE, Outage
from flue_sqla.listening.probe import PROBE_SECONDS, Deaf, Probe, Unsupported, explain
from flue_sqla.signals import Signals

__all__ = ["NotificationTask"]

Heard = Callable[[str], None]


class NotificationTask:
    """Feeds notifications into ``signals`` from a task of the running event loop."""

    def __init__(self, engine: sa.Engine, signals: Signals, listen_url: str | None = None) -> None:
        self._engine = engine
        self._signals = signals
        self._listen_url = listen_url
        self._task: asyncio.Task[None] | None = None
        self._hears: asyncio.Event | None = None
        self._deaf = False

    @property
    def listening(self) -> bool:
        """Whether notifications arrive: the connection is up and our own probe has come through it."""
        return self._hears is not None and self._hears.is_set()

    def ensure(self) -> None:
        """Start on the running loop, unless it runs there already or nothing can be heard here. Returns at once."""
        loop = asyncio.get_running_loop()
        task = self._task
        if self._deaf or (task is not None and not task.done() and task.get_loop() is loop):
            return
        # A task of an earlier loop ended with that loop, and a forked child has no task.
        self._hears = asyncio.Event()
        self._task = loop.create_task(self._run(self._hears), name="flue-listener")

    async def wait_until_listening(self, seconds: float) -> bool:
        """Wait for :attr:`listening`, at most that many ``seconds``."""
        if self._hears is None:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hears.wait()
        return self.listening

    async def stop(self) -> None:
        """End the task and close its connection; :meth:`ensure` starts again."""
        task, self._task, self._hears, self._deaf = self._task, None, None, False
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return
        task.cancel()
        await asyncio.wait([task])

    async def _run(self, hears: asyncio.Event) -> None:
        outage = Outage("Listening for notifications", FIRST_PAUSE)
        try:
            engine = async_listen_engine(self._engine, self._listen_url)
            while True:
                try:
                    await self._listen(engine, hears, outage)
                except (Deaf, Unsupported):
                    raise
                except Exception as error:
                    # Nobody awaits this task, and polling goes on whatever happens to it.
                    hears.clear()
                    await asyncio.sleep(outage.failed(error))
        except (Deaf, Unsupported, FlueError) as reason:
            self._deaf = True
            explain(reason, direct=self._listen_url is not None)
        finally:
            hears.clear()

    async def _listen(self, engine: sa.Engine, hears: asyncio.Event, outage: Outage) -> None:
        """One connection, from its opening to its loss."""
        probe, arrived = Probe(), asyncio.Event()

        def heard(payload: str) -> None:
            if not probe.takes(payload):
                self._signals.wake(payload)
            elif probe.arrived:
                arrived.set()

        await greenlet_spawn(introduce, self._engine)
        opened = await greenlet_spawn(open_detached, engine)
        ear = _ear(driver_connection(engine, opened))
        try:
            await ear.listen(self._signals.channel, heard)
            pump = asyncio.create_task(ear.pump(heard), name="flue-listener-pump")
            try:
                await greenlet_spawn(send, self._engine, self._signals.channel, probe.payload)
                await _first_of(arrived, pump)
                if not arrived.is_set() and not pump.done():
                    raise Deaf if outage.never_worked else ConnectionError("our own notification does not arrive any more")
                outage.recovered()
                hears.set()
                # Whatever was committed while we did not listen.
                self._signals.wake_all()
                await pump
            finally:
                pump.cancel()
                await asyncio.wait([pump])
        finally:
            ear.close()


async def _first_of(arrived: asyncio.Event, pump: asyncio.Future[Any]) -> None:
    waiting: asyncio.Future[Any] = asyncio.ensure_future(arrived.wait())
    try:
        await asyncio.wait([waiting, pump], timeout=PROBE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


class _AsyncEar(Protocol):
    async def listen(self, channel: str, heard: Heard) -> None: ...

    def pump(self, heard: Heard) -> Coroutine[Any, Any, None]:
        """Take in notifications; ends only with the connection, by an exception."""
        ...

    def close(self) -> None:
        """At once: nothing that a cancellation could interrupt."""
        ...


class _PsycopgEar:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def listen(self, channel: str, heard: Heard) -> None:
        await self._connection.set_autocommit(True)
        await self._connection.execute(f'LISTEN "{channel}"')

    async def pump(self, heard: Heard) -> None:
        async for notification in self._connection.notifies():
            heard(notification.payload)
        raise ConnectionError("the connection was closed")

    def close(self) -> None:
        self._connection.pgconn.finish()


class _AsyncpgEar:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lost = asyncio.Event()

    async def listen(self, channel: str, heard: Heard) -> None:
        self._connection.add_termination_listener(lambda _connection: self._lost.set())
        await self._connection.add_listener(channel, lambda _connection, _pid, _channel, payload: heard(payload))

    async def pump(self, heard: Heard) -> None:
        await self._lost.wait()
        raise ConnectionError("the connection was closed")

    def close(self) -> None:
        self._connection.terminate()


def _ear(connection: Any) -> _AsyncEar:
    # By name: importing a driver here would demand that it is installed.
    driver = type(connection).__module__.partition(".")[0]
    if driver == "psycopg":
        return _PsycopgEar(connection)
    if driver == "asyncpg":
        return _AsyncpgEar(connection)
    raise Unsupported
