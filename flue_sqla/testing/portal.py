"""Runs coroutines on a private event loop, so that tests written as plain functions exercise the asynchronous face."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["AwaitedSessions", "AwaitedStore", "Portal"]

T = TypeVar("T")


class Portal:
    """An event loop in a thread of its own. Calls from several threads run on it at once, as tasks of one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flue-testing-portal", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits ``work`` on the loop and returns its result or raises its error."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a portal cannot be used from its own event loop: the loop would wait for itself")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stops the loop. Whatever still runs on it is cancelled."""
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class AwaitedStore:
    """An asynchronous repository seen as a synchronous one: what a method returns is awaited if it can be."""

    def __init__(self, store: Any, portal: Portal) -> None:
        self._store = store
        self._portal = portal

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._portal.run(_settled(method, args, kwargs))

        return call


class AwaitedSessions(AwaitedStore):
    """``sessions`` of an asynchronous store; its callback is a coroutine function there."""

    def delete_tree(self, session_key: str, delete_tree: Callable[[], None], /) -> None:
        async def callback() -> None:
            # In a thread: the test's callback may itself call stores through this portal.
            await asyncio.to_thread(delete_tree)

        self._portal.run(_settled(self._store.delete_tree, (session_key, callback), {}))


async def _settled(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # Called on the loop, even where it is a plain call: `subscribe` may want the running loop.
    result = method(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result
