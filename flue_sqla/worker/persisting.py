"""Trying a store operation again while the database is away and the lease lasts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flue_sqla.errors import DatabaseUnavailableError, OutcomeUnknown, SerializationConflict
from flue_sqla.worker.execution import Execution

__all__ = ["PASSING", "persist"]

T = TypeVar("T")

PASSING: Final = (DatabaseUnavailableError, OutcomeUnknown, SerializationConflict)
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


async def persist(execution: Execution, operation: Callable[[], Awaitable[T]]) -> T:
    """Await an operation that may be repeated (each one used here recognises its own repetition) until it is answered.

    Raises:
        Lost: the lease lapsed before the database came back; another worker takes over.
    """
    pause = _FIRST_PAUSE
    while True:
        execution.check_owned()
        try:
            return await operation()
        except PASSING:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)
