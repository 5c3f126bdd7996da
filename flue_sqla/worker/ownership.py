"""Comparing what the database says of an attempt with what we believe: the proof before an effect, and the regular look."""

from __future__ import annotations

from flue_sqla.records.outcome import Holding
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.interruptions import Aborted, Lost, TimedOut
from flue_sqla.worker.persisting import persist

__all__ = ["Ownership", "compare"]


class Ownership:
    """What one run of a handler asks before each effect: is the attempt ours, is it to end, and is this run still the one?"""

    def __init__(self, bridge: Bridge, execution: Execution, owner_id: str) -> None:
        self._bridge = bridge
        self._execution = execution
        self._owner_id = owner_id
        self._over = False

    def close(self) -> None:
        """The run is over: what is left of it, a task or a hung thread, can do nothing more."""
        self._over = True

    def check_open(self) -> None:
        """Raise :class:`Lost` when nothing may be written any more by this run."""
        self._execution.check_owned()
        if self._over:
            raise Lost("the handler is over")

    def check(self) -> None:
        """As :meth:`check_open`, and raise whatever else asks the attempt to end."""
        self.check_open()
        self._execution.check()

    async def prove(self) -> None:
        """Ask the row, in one statement, before an effect that no fence of the store's can hold back.

        Raises:
            Interruption: the attempt must end; there was no effect.
        """
        execution = self._execution
        self.check()
        holdings = self._bridge.flue.submissions.holdings
        found = await persist(execution, lambda: self._bridge.call(holdings, [execution.submission_id]))
        compare(execution, found.get(execution.submission_id), self._owner_id)
        self.check()


def compare(execution: Execution, holding: Holding | None, owner_id: str) -> None:
    """Take over how long the lease lasts, and interrupt what is not ours or has to end."""
    if execution.settling:
        # The gates of the settlement decide; but with many deliveries it may last longer than a lease, which is renewed meanwhile.
        if holding is not None and (holding.attempt_id, holding.owner_id) == (execution.attempt.attempt_id, owner_id):
            execution.lease_until = max(execution.lease_until, holding.lease_expires_at)
        return
    if holding is None or holding.attempt_id != execution.attempt.attempt_id or holding.owner_id != owner_id:
        execution.interrupt(Lost("the row belongs to another attempt"))
    elif holding.status != "running":
        execution.interrupt(Lost(f"the row is {holding.status}"))
    else:
        execution.lease_until = holding.lease_expires_at
        if holding.abort_requested_at is not None:
            execution.interrupt(Aborted("the session was aborted"))
        elif holding.timeout_at and execution.now() >= holding.timeout_at:
            execution.interrupt(TimedOut("the deadline has passed"))
