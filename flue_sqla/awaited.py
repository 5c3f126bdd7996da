"""The bridge from a synchronous repository to its awaited twin: one wrapper, no logic."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy.util import greenlet_spawn

__all__ = ["AsyncRepository", "awaited", "cancellations", "raise_swallowed", "spawned"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
# Covariant, because a method that a repository inherits from one of its parts is awaited on the repository as a whole.
R_co = TypeVar("R_co", covariant=True)


class AsyncRepository(Generic[R_co]):
    """Awaits the methods of one synchronous repository."""

    def __init__(self, repository: R_co) -> None:
        self.sync = repository


def awaited(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[AsyncRepository[R], P], Coroutine[Any, Any, T]]:
    """The same method, awaited: same parameters, same result, same errors.

    A cancelled call did everything or nothing; its connection is returned or invalidated.
    """

    @functools.wraps(method)
    async def call(self: AsyncRepository[R], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await spawned(method, self.sync, *args, **kwargs)

    return call


async def spawned(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function`` returns, with the database awaited behind its back. Of a cancelled call it may have done everything."""
    before = cancellations()
    try:
        return await greenlet_spawn(functools.partial(function, *args, **kwargs))
    finally:
        raise_swallowed(before)


def cancellations() -> int:
    """How often the running task was asked to end."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def raise_swallowed(before: int) -> None:
    """End the task if it was asked to since there were ``before`` cancellations: drivers swallow some (asyncmy does while it reads).

    Raises:
        asyncio.CancelledError: it was.
    """
    if cancellations() > before:
        raise asyncio.CancelledError
