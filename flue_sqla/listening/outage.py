"""What listeners and followers do while the database is away: wait longer and longer, and say so once."""

from __future__ import annotations

import logging
import random
from typing import Final

__all__ = ["FIRST_PAUSE", "Outage"]

log = logging.getLogger("flue_sqla.listening")

FIRST_PAUSE: Final = 0.1
_LONGEST = 5.0


class Outage:
    """Counts failures in a row. The first one is logged; so is the return."""

    def __init__(self, subject: str, first_pause: float) -> None:
        self.never_worked = True
        self._subject = subject
        self._first = first_pause
        self._failures = 0

    def failed(self, error: BaseException) -> float:
        """One more failure; the seconds to wait before the next try, at most five."""
        self._failures += 1
        if self._failures == 1:
            # The first line and no traceback: this is expected.
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            log.warning("%s is interrupted and goes on trying: %s", self._subject, reason)
        return min(_LONGEST, self._first * 2.0 ** min(self._failures - 1, 16)) * random.uniform(0.5, 1.0)

    def recovered(self) -> None:
        """It works (again)."""
        self.never_worked = False
        if self._failures:
            log.info("%s goes on after %d failed tries.", self._subject, self._failures)
        self._failures = 0
