"""A clock that a test moves by hand, so that nothing ever sleeps to make time pass."""

from __future__ import annotations

import threading

__all__ = ["ManualClock"]

#: 2026-06-03T00:01:00.000Z: one minute after the ``acceptedAt`` of every example of the conformance suite.
DEFAULT_NOW = 1_780_444_860_000


class ManualClock:
    """Epoch milliseconds that change only through :meth:`advance` and :meth:`set`; safe for use by many threads.

    Pass it as ``Flue(url, clock=ManualClock())`` (or ``AsyncFlue``): leases expire, timeouts pass and timestamps differ exactly
    when the test says so.
    """

    def __init__(self, now: int = DEFAULT_NOW) -> None:
        """Starts at ``now``, in epoch milliseconds."""
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> int:
        """The current time in epoch milliseconds."""
        with self._lock:
            return self._now

    def advance(self, milliseconds: int) -> int:
        """Moves the clock forward and returns the new time. Time never runs backwards here: a negative step is refused."""
        if milliseconds < 0:
            raise ValueError(f"a clock cannot be advanced by {milliseconds} ms; use set() to put it anywhere")
        with self._lock:
            self._now += milliseconds
            return self._now

    def set(self, now: int) -> None:
        """Puts the clock at ``now``, in epoch milliseconds; earlier than before is allowed, as after an NTP correction."""
        with self._lock:
            self._now = now

    def __repr__(self) -> str:
        return f"ManualClock({self.now()})"
