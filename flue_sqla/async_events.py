"""The event stream repository, awaited."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from flue_sqla.awaited import AsyncRepository, awaited, spawned
from flue_sqla.repositories.events import Events

__all__ = ["AsyncEvents"]


class AsyncEvents(AsyncRepository[Events]):
    """:class:`~flue_sqla.repositories.events.Events`, awaited; ``subscribe`` stays a plain call.

    Appends of one loop to one path are applied in the order of the calls (spec/streams.md §10), also when none waits for the one before.
    """

    create = awaited(Events.create)
    read = awaited(Events.read)
    close = awaited(Events.close)
    get_meta = awaited(Events.get_meta)

    def __init__(self, repository: Events) -> None:
        super().__init__(repository)
        self._queues: weakref.WeakValueDictionary[tuple[int, str], asyncio.Lock] = weakref.WeakValueDictionary()

    async def append(self, path: str, event: Any) -> str:
        """As :meth:`Events.append`."""
        async with self._queue(path):
            return await spawned(self.sync.append, path, event)

    async def append_once(self, path: str, key: str, event: Any) -> str:
        """As :meth:`Events.append_once`."""
        async with self._queue(path):
            return await spawned(self.sync.append_once, path, key, event)

    def subscribe(self, path: str, listener: Callable[[], None]) -> Callable[[], None]:
        """As :meth:`Events.subscribe <flue_sqla.repositories.events.Events.subscribe>`."""
        return self.sync.subscribe(path, listener)

    def _queue(self, path: str) -> asyncio.Lock:
        """A fair lock per path; whoever calls first comes first. It is gone when nobody holds or waits for it."""
        key = (id(asyncio.get_running_loop()), path)
        lock = self._queues.get(key)
        if lock is None:
            lock = self._queues[key] = asyncio.Lock()
        return lock
