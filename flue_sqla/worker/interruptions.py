"""Why an attempt ends before its handler does.

Not an ``Exception``: a handler's ``except Exception`` must not swallow it. A handler may clean up in ``finally``; what it writes through
its context then is refused again.
"""

from __future__ import annotations

__all__ = ["Aborted", "Interruption", "Lost", "Stopping", "TimedOut"]


class Interruption(BaseException):
    """The attempt must end now."""


class Lost(Interruption):
    """The attempt is not ours any more: its lease lapsed or another one fenced it. Nothing may be written for it."""


class Stopping(Interruption):
    """The worker stops; the submission goes back to the queue and does not count this attempt."""


class Aborted(Interruption):
    """Somebody asked for the session to be aborted."""


class TimedOut(Interruption):
    """The submission's wall-clock deadline has passed."""
