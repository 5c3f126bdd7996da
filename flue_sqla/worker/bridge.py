"""How the worker, which lives on an event loop, calls the repositories, which are synchronous code.

Over an ``AsyncFlue`` through SQLAlchemy's greenlet bridge, over a ``Flue`` on a few threads. No statement and no rule exists twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.pool import QueuePool

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.awaited import spawned
from flue_sqla.flue import Flue
from flue_sqla.listening import AsyncWaiter

__all__ = ["Bridge", "bridge_to", "in_thread"]

P = ParamSpec("P")
T = TypeVar("T")

_UNPOOLED = 8


class Bridge(ABC):
    """Calls into one Flue. ``flue`` is the synchronous one."""

    def __init__(self, flue: Flue) -> None:
        self.flue = flue
        self.at_once = _connections(flue)
        # Beyond its size a pool opens a connection for one call and closes it again, which costs far more than waiting for one.
        self._slots = asyncio.Semaphore(self.at_once)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run synchronous store code to its end: a cancellation waits for what has been sent, which is short, and comes after it."""
        running = asyncio.ensure_future(self._in_a_slot(functools.partial(function, *args, **kwargs)))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not running.done():
                await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # taken notice of: the cancellation is what the caller hears of
            raise

    async def _in_a_slot(self, function: Callable[[], T]) -> T:
        async with self._slots:
            return await self._run(function)

    @abstractmethod
    def _run(self, function: Callable[[], T]) -> Coroutine[Any, Any, T]: ...

    @abstractmethod
    def waiter(self, *topics: str) -> AsyncWaiter:
        """Something to wait with on the event loop."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the bridge itself has made."""


class _LoopBridge(Bridge):
    def __init__(self, flue: AsyncFlue) -> None:
        super().__init__(flue.sync)
        self._listener = flue.listener

    async def _run(self, function: Callable[[], T]) -> T:
        return await spawned(function)

    def waiter(self, *topics: str) -> AsyncWaiter:
        return self._listener.waiter(*topics)

    def close(self) -> None:
        return


class _ThreadBridge(Bridge):
    def __init__(self, flue: Flue) -> None:
        super().__init__(flue)
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="flue-worker-store")

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def waiter(self, *topics: str) -> AsyncWaiter:
        listening = self.flue.listener
        if listening.listener is not None:
            listening.listener.ensure()
        return AsyncWaiter(self.flue.signals, topics, listening.poll_interval, lambda: None)

    def close(self) -> None:
        self._threads.shutdown(wait=False)


def _connections(flue: Flue) -> int:
    """How many connections the worker uses at once: those that the pool keeps, but one for whoever shares it."""
    pool = flue.engine.pool
    return max(1, pool.size() - 1) if isinstance(pool, QueuePool) else _UNPOOLED


def bridge_to(flue: Flue | AsyncFlue) -> Bridge:
    """The bridge that fits."""
    return _LoopBridge(flue) if isinstance(flue, AsyncFlue) else _ThreadBridge(flue)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a host's blocking function in a thread of its own.

    A daemon, unlike a pool's: a function that never returns must not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)

    def settle(setter: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            setter(value)

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            outcome = (done.set_exception, error)
        else:
            outcome = (done.set_result, result)  # type: ignore[assignment]
        try:
            loop.call_soon_threadsafe(settle, *outcome)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=run, name="flue-handler", daemon=True).start()
    return await done
