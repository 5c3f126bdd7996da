"""Reading a stream as it grows: an iterator for threads and its twin for tasks, over one pure step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar

from flue_sqla.errors import DatabaseUnavailableError, OutcomeUnknown, SerializationConflict
from flue_sqla.listening.hub import AsyncListening, Listening
from flue_sqla.listening.outage import Outage
from flue_sqla.listening.waiters import AsyncWaiter, Waiter

__all__ = ["AsyncFollowing", "Following", "Step"]

Item = TypeVar("Item")
Page = TypeVar("Page")

_SURVIVABLE: Final = (DatabaseUnavailableError, OutcomeUnknown, SerializationConflict)


@dataclass(frozen=True)
class Step(Generic[Item]):
    """What one page means to a follower.

    Args:
        items: what to hand out, in order.
        offset: where to read on.
        ended: nothing will ever follow.
    """

    items: Sequence[Item]
    offset: str
    ended: bool = False


class _Position(Generic[Item]):
    """Where a follower is, what it still has to hand out, and how long it may wait; no IO and no waiting here."""

    def __init__(
        self, subject: str, offset: str, step: Callable[[str, Any], Step[Item]], poll_interval: float, idle_timeout: float | None
    ) -> None:
        self.offset = offset
        self.pending: deque[Item] = deque()
        self.ended = False
        self._step = step
        self._idle_timeout = idle_timeout
        self._deadline: float | None = None
        self._outage = Outage(subject, poll_interval)
        self._retry_after: float | None = None

    def asked(self) -> None:
        """The caller wants the next item: the idle time starts."""
        self._deadline = None if self._idle_timeout is None else time.monotonic() + self._idle_timeout

    def read(self, page: Any) -> None:
        """A page came."""
        self._outage.recovered()
        self._retry_after = None
        step = self._step(self.offset, page)
        self.pending.extend(step.items)
        self.offset, self.ended = step.offset, step.ended

    def failed(self, error: BaseException) -> None:
        """The database is away."""
        self._retry_after = self._outage.failed(error)

    def patience(self) -> float | None:
        """Seconds to wait before the next look; None for as long as the waiter does; zero or less when the idle time is over."""
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if self._retry_after is None or (left is not None and left < self._retry_after):
            return left
        return self._retry_after


class Following(Generic[Item]):
    """An endless iterator over what is in a stream and what will be.

    It ends when it or its Flue is closed (both from any thread) or, with an idle timeout, when nothing came for so long. While the
    database is away it waits and tries again. Between two items it holds no connection, and between two calls of ``next`` nothing at
    all; :attr:`offset` is where it is, to go on from later.
    """

    def __init__(
        self,
        listening: Listening,
        topic: str,
        read: Callable[[str], Page],
        step: Callable[[str, Page], Step[Item]],
        *,
        offset: str,
        idle_timeout_ms: int | None = None,
    ) -> None:
        self._listening = listening
        self._generation = listening.generation
        self._topic = topic
        self._read = read
        self._position = _position(topic, offset, step, listening.poll_interval, idle_timeout_ms)
        self._closed = False
        self._waiter: Waiter | None = None

    @property
    def offset(self) -> str:
        """The offset up to which everything has been read; ``-1`` or ``now`` before the first read."""
        return self._position.offset

    def close(self) -> None:
        """End the iteration, also one that waits on another thread right now."""
        self._closed = True
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        position = self._position
        if not position.pending and not self._over:
            with self._listening.waiter(self._topic) as waiter:
                self._waiter = waiter
                try:
                    self._look_until_something_comes(waiter)
                finally:
                    self._waiter = None
        if self._over or not position.pending:
            raise StopIteration
        return position.pending.popleft()

    def _look_until_something_comes(self, waiter: Waiter) -> None:
        position = self._position
        position.asked()
        while not self._over:
            try:
                position.read(self._read(position.offset))
            except _SURVIVABLE as error:
                position.failed(error)
            if position.pending or position.ended or waiter.ended:
                return
            patience = position.patience()
            if patience is not None and patience <= 0:
                return
            waiter.wait(patience)

    @property
    def _over(self) -> bool:
        return self._closed or self._generation != self._listening.generation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncFollowing(Generic[Item]):
    """:class:`Following` for ``async for``. Cancelling it at any point leaves no subscription, connection or task of its own behind."""

    def __init__(
        self,
        listening: AsyncListening,
        topic: str,
        read: Callable[[str], Awaitable[Page]],
        step: Callable[[str, Page], Step[Item]],
        *,
        offset: str,
        idle_timeout_ms: int | None = None,
    ) -> None:
        self._listening = listening
        self._generation = listening.generation
        self._topic = topic
        self._read = read
        self._position = _position(topic, offset, step, listening.poll_interval, idle_timeout_ms)
        self._closed = False
        self._waiter: AsyncWaiter | None = None

    @property
    def offset(self) -> str:
        """As :attr:`Following.offset`."""
        return self._position.offset

    async def aclose(self) -> None:
        """As :meth:`Following.close`."""
        self._closed = True
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        position = self._position
        if not position.pending and not self._over:
            async with self._listening.waiter(self._topic) as waiter:
                self._waiter = waiter
                try:
                    await self._look_until_something_comes(waiter)
                finally:
                    self._waiter = None
        if self._over or not position.pending:
            raise StopAsyncIteration
        return position.pending.popleft()

    async def _look_until_something_comes(self, waiter: AsyncWaiter) -> None:
        position = self._position
        position.asked()
        while not self._over:
            try:
                position.read(await self._read(position.offset))
            except _SURVIVABLE as error:
                position.failed(error)
            if position.pending or position.ended or waiter.ended:
                return
            patience = position.patience()
            if patience is not None and patience <= 0:
                return
            await waiter.wait(patience)

    @property
    def _over(self) -> bool:
        return self._closed or self._generation != self._listening.generation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _position(
    topic: str, offset: str, step: Callable[[str, Any], Step[Item]], poll_interval: float, idle_timeout_ms: int | None
) -> _Position[Item]:
    idle_timeout = None if idle_timeout_ms is None else idle_timeout_ms / 1000
    return _Position(f"Following {topic!r}", offset, step, poll_interval, idle_timeout)
