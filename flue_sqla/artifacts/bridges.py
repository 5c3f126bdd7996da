"""Each variant of the store port made from the other, so that all above it is written once."""

from __future__ import annotations

import asyncio
import io
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, Protocol, TypeVar

from flue_sqla.artifacts.keys import check_key
from flue_sqla.artifacts.parts import PartPlan
from flue_sqla.artifacts.portal import Portal
from flue_sqla.artifacts.readers import AwaitedReader, RangeReader
from flue_sqla.artifacts.store import AsyncReader, AsyncUpload, Buffer, ObjectInfo, ObjectStore, RangedStore, Upload
from flue_sqla.forking import reset_in_child

__all__ = ["AwaitedStore", "Call", "PortalStore", "inline", "on_thread", "to_end"]

T = TypeVar("T")


class Call(Protocol):
    """How a blocking function is awaited: :func:`inline` or :func:`on_thread`."""

    async def __call__(self, function: Callable[..., T], *arguments: Any) -> T: ...


_PAGE = 500
_PATIENCE = 5.0
"""Seconds for the clients of a store to close."""

# What a forked child inherited and must neither use nor finalise: its sockets are the parent's.
_abandoned: list[object] = []


async def inline(function: Callable[..., T], *arguments: Any) -> T:
    """Call at once; for flows that are driven by a blocking caller."""
    return function(*arguments)


async def on_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call on a thread, to its end."""
    return await to_end(asyncio.to_thread(_without_stop, function, *arguments))


async def to_end(work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
    """What ``work`` gives. A cancelled caller still waits for its end: an operation either happened or did not, never later.

    Only after ``patience`` seconds of that, when they are given, ``work`` is cancelled as well.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                ended, _ = await asyncio.wait([task], timeout=patience)
                if not ended:
                    task.cancel()
        if not task.cancelled():
            task.exception()
        raise


def _without_stop(function: Callable[..., T], *arguments: Any) -> T:
    """A future cannot hold a StopIteration, so whoever awaits it would wait for ever; a coroutine turns it into this error as well."""
    try:
        return function(*arguments)
    except StopIteration as error:
        raise RuntimeError("What was called raised StopIteration.") from error


class AwaitedStore:
    """A blocking store awaited: inline for the blocking face, on threads for the async one."""

    def __init__(self, store: ObjectStore, call: Call) -> None:
        self.kind = store.kind
        self.plan = store.plan
        self._store = store
        self._call = call

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> AsyncUpload:
        return AwaitedUpload(self._store.begin(key, size=size, content_type=content_type), self._call)

    async def open(self, key: str, size: int) -> AsyncReader:
        return AwaitedReader(await self._call(self._store.open, key, size), self._call)

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        return await self._call(self._store.read_range, key, start, end)

    async def stat(self, key: str) -> ObjectInfo | None:
        return await self._call(self._store.stat, key)

    async def delete(self, key: str) -> None:
        await self._call(self._store.delete, key)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        found = self._store.list(prefix)
        while page := await self._call(_next_page, found):
            for info in page:
                yield info

    async def presign(self, key: str, expires_in: int) -> str:
        return await self._call(self._store.presign, key, expires_in)

    async def discard_uploads(self, older_than: int) -> int | None:
        return await self._call(self._store.discard_uploads, older_than)

    async def create(self) -> None:
        await self._call(self._store.create)

    async def close(self) -> None:
        await self._call(self._store.close)


class AwaitedUpload:
    """A blocking upload awaited. The last part goes with the completion: a small object takes one turn on a thread, not two."""

    def __init__(self, upload: Upload, call: Call) -> None:
        self._upload = upload
        self._call = call
        self._held: Buffer | None = None

    async def send(self, part: Buffer) -> None:
        held, self._held = self._held, part
        if held is not None:
            await self._call(self._upload.send, held)

    async def complete(self) -> None:
        held, self._held = self._held, None
        await self._call(_complete, self._upload, held)

    async def abort(self) -> None:
        self._held = None
        await self._call(self._upload.abort)


def _complete(upload: Upload, last: Buffer | None) -> None:
    if last is not None:
        upload.send(last)
    upload.complete()


class PortalStore:
    """An async store used by blocking callers, from any thread, inside a running loop, and after a fork.

    ``factory`` makes the store; it runs again in a forked child, which must not touch the parent's connections.
    """

    def __init__(self, factory: Callable[[], RangedStore]) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._portal: Portal | None = None
        self._ending: weakref.finalize[..., Any] | None = None
        self._store = factory()
        reset_in_child(self)

    @property
    def kind(self) -> str:
        return self._store.kind

    @property
    def plan(self) -> PartPlan:
        # Asked anew each time: a forked child may have another engine.
        return self._store.plan

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> Upload:
        portal, store = self._running()
        return PortalUpload(portal, store.begin(key, size=size, content_type=content_type))

    def open(self, key: str, size: int) -> BinaryIO:
        check_key(key)
        portal, store = self._running()
        # Bound to this store, so that an open file keeps its clients alive.
        raw = RangeReader(size, partial(self._fetch, portal, store, key), store.pace)
        return io.BufferedReader(raw, buffer_size=128 * 1024)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        portal, store = self._running()
        return portal.call(store.read_range(key, start, end))

    def stat(self, key: str) -> ObjectInfo | None:
        portal, store = self._running()
        return portal.call(store.stat(key))

    def delete(self, key: str) -> None:
        portal, store = self._running()
        portal.call(store.delete(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        portal, store = self._running()
        found = store.list(prefix)
        while page := portal.call(_take(found)):
            yield from page

    def presign(self, key: str, expires_in: int) -> str:
        portal, store = self._running()
        return portal.call(store.presign(key, expires_in))

    def discard_uploads(self, older_than: int) -> int | None:
        portal, store = self._running()
        return portal.call(store.discard_uploads(older_than))

    def create(self) -> None:
        portal, store = self._running()
        portal.call(store.create())

    def close(self) -> None:
        with self._lock:
            if self._ending is not None:
                self._ending()
            self._portal = self._ending = None
            self._store = self._factory()

    def _fetch(self, portal: Portal, store: RangedStore, key: str, start: int, end: int) -> Future[Buffer]:
        return portal.submit(store.fetch(key, start, end))

    def _running(self) -> tuple[Portal, RangedStore]:
        with self._lock:
            if self._portal is None:
                self._portal = Portal()
                # For whoever forgets to close: sockets are closed with the store or, at the latest, with the process.
                self._ending = weakref.finalize(self, _end, self._portal, self._store)
            return self._portal, self._store

    def forget_parent(self) -> None:
        """In a forked child: the loop's thread is gone and the sockets are the parent's."""
        self._lock = threading.Lock()
        _abandoned.append((self._portal, self._store))
        if self._ending is not None:
            self._ending.detach()
        self._portal = self._ending = None
        self._store = self._factory()


class PortalUpload:
    """An upload whose parts travel on the portal's loop while the caller prepares the next."""

    def __init__(self, portal: Portal, upload: AsyncUpload) -> None:
        self._portal = portal
        self._upload = upload

    def send(self, part: Buffer) -> None:
        self._portal.call(self._upload.send(part))

    def complete(self) -> None:
        self._portal.call(self._upload.complete())

    def abort(self) -> None:
        self._portal.call(self._upload.abort())


def _next_page(found: Iterator[ObjectInfo]) -> list[ObjectInfo]:
    return [*islice(found, _PAGE)]


def _end(portal: Portal, store: RangedStore) -> None:
    with suppress(TimeoutError):
        portal.submit(store.close()).result(_PATIENCE)
    portal.close()


async def _take(found: AsyncIterator[ObjectInfo]) -> list[ObjectInfo]:
    page: list[ObjectInfo] = []
    async for info in found:
        page.append(info)
        if len(page) == _PAGE:
            break
    return page
