"""What differs between the blocking and the async face, so that every flow is written once.

A flow is a coroutine. The blocking face runs it with :func:`run`: everything that it awaits there is done at once, so it never suspends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from flue_sqla.artifacts.bridges import inline, on_thread, to_end
from flue_sqla.artifacts.parts import StreamDigest
from flue_sqla.awaited import spawned

__all__ = ["AsyncRuntime", "BlockingRuntime", "Runtime", "run"]

T = TypeVar("T")


class Runtime(Protocol):
    """How a flow calls what blocks."""

    allow_async: bool
    """Whether sources may be async."""

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Await a blocking function of a source or file."""
        ...

    async def rows(self, method: Callable[..., T], *arguments: Any) -> T:
        """Call a method of the rows."""
        ...

    async def finish(self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        """Run ``work`` to its end, even when the caller is being cancelled; at most ``patience`` seconds longer, when they are given."""
        ...

    async def hash(self, digest: StreamDigest, part: bytes) -> None:
        """Add ``part`` to ``digest``, beside what follows."""
        ...

    async def hexdigest(self, digest: StreamDigest) -> str:
        """What was hashed, once all of it is."""
        ...

    async def each(self, work: list[Coroutine[Any, Any, T]]) -> list[T]:
        """The results of all of ``work``, at once where that is possible."""
        ...


class BlockingRuntime:
    """Calls everything at once, on the caller's thread."""

    allow_async = False

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await inline(function, *arguments)

    async def rows(self, method: Callable[..., T], *arguments: Any) -> T:
        return method(*arguments)

    async def finish(self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        return await work

    async def hash(self, digest: StreamDigest, part: bytes) -> None:
        digest.add(part)

    async def hexdigest(self, digest: StreamDigest) -> str:
        return digest.hexdigest()

    async def each(self, work: list[Coroutine[Any, Any, T]]) -> list[T]:
        return [await one for one in work]


class AsyncRuntime:
    """Files on threads, rows through SQLAlchemy's greenlet bridge, never blocking the loop."""

    allow_async = True

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await on_thread(function, *arguments)

    async def rows(self, method: Callable[..., T], *arguments: Any) -> T:
        return await spawned(method, *arguments)

    async def finish(self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        return await to_end(work, patience)

    async def hash(self, digest: StreamDigest, part: bytes) -> None:
        await digest.add_async(part)

    async def hexdigest(self, digest: StreamDigest) -> str:
        await digest.settle_async()
        return digest.hexdigest()

    async def each(self, work: list[Coroutine[Any, Any, T]]) -> list[T]:
        return await asyncio.gather(*work)


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Run a flow over a :class:`BlockingRuntime` and a store whose calls are inline."""
    try:
        flow.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    flow.close()
    raise RuntimeError("A blocking flow was suspended.")
