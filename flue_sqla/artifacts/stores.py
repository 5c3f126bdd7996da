"""The open stores of one Flue: one for blocking callers, one for each event loop; opened on first use, closed explicitly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.store import AsyncObjectStore, ObjectStore
from flue_sqla.errors import ArtifactStoreError
from flue_sqla.forking import reset_in_child

__all__ = ["Stores"]


class Stores:
    """Gives the store that fits the caller. Creating it opens nothing and imports no engine.

    ``options`` may be a function, called on first use, so that a Flue that keeps no artifacts never has to be configured for them.
    """

    def __init__(self, options: StoreOptions | Callable[[], StoreOptions]) -> None:
        self._source = options
        self._options = options if isinstance(options, StoreOptions) else None
        self._lock = threading.Lock()
        self._blocking: ObjectStore | None = None
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncObjectStore] = WeakKeyDictionary()
        reset_in_child(self)

    @property
    def options(self) -> StoreOptions:
        """Where the artifacts are.

        Raises:
            ConfigurationError: the settings are wrong.
        """
        if self._options is None:
            assert callable(self._source)
            self._options = self._source()
        return self._options

    def blocking(self) -> ObjectStore:
        """The store for blocking callers."""
        from flue_sqla.artifacts.factory import blocking_store

        with self._lock:
            if self._blocking is None:
                self._blocking = blocking_store(self.options)
            return self._blocking

    def of_loop(self) -> AsyncObjectStore:
        """The store of the running event loop: an async client never crosses from one loop to another."""
        from flue_sqla.artifacts.factory import async_store

        shared = None if self.options.scheme == "s3" else self.blocking()
        loop = asyncio.get_running_loop()
        with self._lock:
            store = self._by_loop.get(loop)
            if store is None:
                # A store knows its loop, so no loop is ever collected while its store is held here.
                for ended in [other for other in self._by_loop if other.is_closed()]:
                    del self._by_loop[ended]
                store = self._by_loop[loop] = async_store(self.options, shared)
            return store

    def is_elsewhere(self, label: str | None) -> bool:
        """Whether a row with this label names another store than the configured one."""
        return label is not None and label != self.options.label

    def refuse_elsewhere(self, artifact_id: str, label: str | None) -> None:
        """Refuse to look here for bytes that a transfer has moved away.

        Raises:
            ArtifactStoreError: the row names another store than the configured one.
        """
        if self.is_elsewhere(label):
            raise ArtifactStoreError(
                f"The bytes of artifact {artifact_id!r} were moved to another store than the configured one.",
                meta={"artifactId": artifact_id, "store": label, "configured": self.options.label, "reason": "moved"},
                remedy="Set FLUE_ARTIFACTS to the store that `flue-sqla artifacts transfer` moved the artifacts to, and restart.",
            )

    def close(self) -> None:
        """Close the store of blocking callers."""
        with self._lock:
            store, self._blocking = self._blocking, None
        if store is not None:
            store.close()

    async def aclose(self) -> None:
        """Close the running loop's store and that of blocking callers."""
        with self._lock:
            store = self._by_loop.pop(asyncio.get_running_loop(), None)
        if store is not None:
            await store.close()
        await asyncio.to_thread(self.close)

    def forget_parent(self) -> None:
        """In a forked child: the parent's loops do not run here, and closing their clients would close the parent's sockets."""
        self._lock = threading.Lock()
        _abandoned.append(self._by_loop)
        self._by_loop = WeakKeyDictionary()


_abandoned: list[object] = []
