"""An event loop on a thread of its own, so that blocking callers can use an async engine from anywhere.

fsspec has such a loop as well, but shares it process-wide and keeps it across a fork; this one belongs to a single store.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from flue_sqla.artifacts.failures import failure

__all__ = ["Portal"]

T = TypeVar("T")


class Portal:
    """Runs coroutines on a daemon thread. Safe for many callers, also inside a running event loop (which it blocks, as any
    blocking call does, but never deadlocks)."""

    def __init__(self, name: str = "flue-artifacts") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start ``work``; cancelling the future cancels it.

        Raises:
            ArtifactStoreError: the portal was closed, as a file that is still open finds it after its Flue was.
        """
        if self._loop.is_closed():
            work.close()
            raise failure("be used", None, "closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` to its end. An interrupt of the waiting caller (Ctrl-C) cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread; pending work is cancelled."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()
