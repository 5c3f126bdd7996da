"""The one source of time: epoch milliseconds of the application (spec/schema.md §1), never of the database."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the library asks of time. Tests inject one that they move by hand."""

    def now(self) -> int:
        """The current time in epoch milliseconds."""
        ...


class SystemClock:
    """The host's wall clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000
