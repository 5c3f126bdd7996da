"""Waiting for one of several topics, without polling hard."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Self

from flue_sqla.signals import Signals

__all__ = ["AsyncWaiter", "Waiter"]


class _Subscriptions:
    """What both waiters share: their topics, and whether it is over."""

    def __init__(self, signals: Signals, topics: tuple[str, ...], forget: Callable[[], None]) -> None:
        self.ended = False
        self._forget = forget
        self._unsubscribe = [signals.subscribe(topic, self.wake, remote=True) for topic in topics]

    def wake(self) -> None:
        """Let the current or the next ``wait`` return; callable from any thread."""
        raise NotImplementedError

    def end(self) -> None:
        """The Flue was closed: ``ended`` is true from now on, and whoever waits is woken."""
        self.ended = True
        self.wake()

    def unsubscribe(self) -> None:
        """Hear no more."""
        while self._unsubscribe:
            self._unsubscribe.pop()()
        self._forget()


class Waiter(_Subscriptions):
    """Waits on a thread. Use it as a context manager.

    A wake-up between two waits is not lost: subscribe first (by making the waiter), then look at the database, then wait. A wake-up says
    nothing about what happened; look again after each.
    """

    def __init__(self, signals: Signals, topics: tuple[str, ...], poll_interval: float, forget: Callable[[], None]) -> None:
        self._woken = threading.Event()
        self._poll_interval = poll_interval
        super().__init__(signals, topics, forget)

    def wake(self) -> None:
        self._woken.set()

    def wait(self, at_most: float | None = None) -> bool:
        """Wait for a wake-up, one poll interval or ``at_most`` seconds, whichever comes first; whether there was a wake-up."""
        seconds = self._poll_interval if at_most is None else min(at_most, self._poll_interval)
        woken = self._woken.wait(max(0.0, seconds))
        self._woken.clear()
        return woken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unsubscribe()


class AsyncWaiter(_Subscriptions):
    """:class:`Waiter` for a task; make it on the event loop that waits. Cancelling ``wait`` leaves nothing behind."""

    def __init__(self, signals: Signals, topics: tuple[str, ...], poll_interval: float, forget: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._poll_interval = poll_interval
        super().__init__(signals, topics, forget)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(self._woken.set)

    async def wait(self, at_most: float | None = None) -> bool:
        """As :meth:`Waiter.wait`."""
        seconds = self._poll_interval if at_most is None else min(at_most, self._poll_interval)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._woken.wait()
        except TimeoutError:
            return False
        finally:
            self._woken.clear()
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.unsubscribe()
