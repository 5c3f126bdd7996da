"""Generated ids: a prefix and a ULID (spec/submissions.md §2)."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)
ULID_PATTERN: Final = "[0-7][0-9A-HJKMNP-TV-Z]{25}"


class _UlidSource:
    """Strictly increasing ULIDs of one process; all threads share one instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._time = -1
        self._random = 0

    def next(self, now_ms: int) -> str:
        with self._lock:
            if now_ms > self._time:
                self._time, self._random = now_ms, int.from_bytes(os.urandom(10), "big")
            else:  # the same millisecond, or the clock went back
                self._random += 1
                if self._random >> 80:
                    self._time, self._random = self._time + 1, 0
            number = self._time << 80 | self._random
        return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


_ulids = _UlidSource()


def _after_fork() -> None:
    # The child must neither continue its parent's random part nor wait for a lock that a thread of the parent held.
    global _ulids
    _ulids = _UlidSource()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def new_id(prefix: str) -> str:
    """``<prefix>_<ULID>``, increasing within this process; safe for threads and after a fork."""
    return f"{prefix}_{_ulids.next(time.time_ns() // 1_000_000)}"
