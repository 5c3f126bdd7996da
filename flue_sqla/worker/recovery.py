"""Finishing what others began: settlements that were reserved, leases that ran out, joins without a host (spec/lifecycle.md §6).

Every live worker does this all the time. Looking decides nothing: what happens to a submission is decided by the compare-and-set that the
look leads to, so each of them is recovered once, however many workers see it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from flue_sqla.conversation import ConversationState, Inspection, inspect_submission
from flue_sqla.errors import (
    ConversationRecordInvariantError,
    FlueError,
    OutcomeUnknown,
    SubmissionInterruptedError,
    SubmissionRetryExhaustedError,
    SubmissionTimeoutError,
)
from flue_sqla.records.submission import Attempt, Lease, SettlementObligation, Submission
from flue_sqla.wire import new_id, parse_session_key, stream_path
from flue_sqla.worker.acquisition import NotOurs
from flue_sqla.worker.agent import Agent
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.persisting import PASSING
from flue_sqla.worker.settlement import OutcomeName, Settlements, aborted
from flue_sqla.worker.telemetry import Telemetry
from flue_sqla.worker.timing import Timing
from flue_sqla.worker.views import Views

__all__ = ["RecoveryPass"]


class RecoveryPass:
    """The recovery of one worker; single-flight, since its caller awaits it."""

    def __init__(
        self,
        bridge: Bridge,
        views: Views,
        settlements: Settlements,
        agents: Mapping[str, Agent],
        telemetry: Telemetry,
        timing: Timing,
        owner_id: str,
        *,
        is_active: Callable[[str], bool],
        free_slots: Callable[[], int],
        start: Callable[[Submission], None],
    ) -> None:
        self._bridge = bridge
        self._flue = bridge.flue
        self._views = views
        self._settlements = settlements
        self._agents = agents
        self._telemetry = telemetry
        self._timing = timing
        self._owner_id = owner_id
        self._is_active = is_active
        self._free_slots = free_slots
        self._start = start

    async def run(self) -> None:
        """One pass over everything that may need a hand."""
        call, submissions = self._bridge.call, self._flue.submissions
        for obligation in await call(submissions.list_pending_settlements):
            await self._guarded(obligation.submission_id, lambda o=obligation: self._finish(o))  # type: ignore[misc]
        moved = await call(submissions.repair_joins)
        if moved:
            self._telemetry.event("joins_repaired", logging.WARNING, rows=moved)
        for row in await call(submissions.list_expired):
            if row.input["agent"] in self._agents and not self._is_active(row.submission_id):
                await self._guarded(row.submission_id, lambda r=row: self.decide(r))  # type: ignore[misc]

    async def _guarded(self, submission_id: str, recover: Callable[[], Awaitable[object]]) -> None:
        """One submission's trouble must not keep the others from being recovered."""
        try:
            await recover()
        except PASSING:
            raise
        except (FlueError, NotOurs) as error:
            # NotOurs: somebody else was faster.
            level = logging.INFO if isinstance(error, NotOurs) else logging.ERROR
            self._telemetry.event("not_recovered", level, submission_id=submission_id, reason=str(error) or type(error).__name__)

    async def _finish(self, obligation: SettlementObligation) -> None:
        """Carry a reserved settlement to its end, once whoever reserved it has had the time of its lease."""
        submission_id = obligation.submission_id
        holding = (await self._bridge.call(self._flue.submissions.holdings, [submission_id])).get(submission_id)
        if self._is_active(submission_id) or holding is None or holding.lease_expires_at >= self._flue.clock.now():
            return
        address = parse_session_key(obligation.session_key)
        if address is None:
            return
        attempt = Attempt(submission_id=submission_id, attempt_id=obligation.attempt_id)
        await self._settlements.finish(submission_id, attempt, stream_path(address.agent, address.instance_id), obligation.record)

    async def decide(self, row: Submission) -> None:
        """The decision tree over a submission whose lease has run out."""
        attempt = row.attempt
        if attempt is None:
            return
        state, found = await self._inspect(row)
        if state is None:
            await self._end(row, attempt, "failed", found if isinstance(found, FlueError) else None, advise=False)
        elif found == "completed":
            await self._end(row, attempt, "completed", None, advise=False)
        elif row.abort_requested_at is not None:
            await self._end(row, attempt, "aborted", aborted())
        elif row.attempt_count >= row.max_attempts:
            await self._end(row, attempt, "failed", _exhausted(row, found == "absent"))
        elif row.timeout_at > 0 and self._flue.clock.now() >= row.timeout_at:
            await self._end(row, attempt, "failed", SubmissionTimeoutError("Submission exceeded the configured timeout."))
        elif found == "interrupted":
            await self._replace(row, attempt)
        elif await self._requeue(attempt):
            self._telemetry.event("requeued", submission_id=row.submission_id, agent=row.input["agent"])

    async def _inspect(self, row: Submission) -> tuple[ConversationState | None, Inspection | FlueError]:
        try:
            view = await self._views.current(stream_path(row.input["agent"], row.input["id"]))
        except ConversationRecordInvariantError as error:
            return None, error
        return view.state, inspect_submission(view.state, row.kind, row.submission_id)

    async def _end(self, row: Submission, attempt: Attempt, outcome: OutcomeName, error: FlueError | None, *, advise: bool = True) -> None:
        if advise:
            await self._settlements.advise(row, attempt, "aborted" if outcome == "aborted" else "interrupted")
        if await self._settlements.settle(row, attempt, outcome, error):
            self._telemetry.event("recovered", submission_id=row.submission_id, agent=row.input["agent"], by="settlement", outcome=outcome)

    async def _replace(self, row: Submission, attempt: Attempt) -> None:
        if self._free_slots() < 1:
            return
        lease = Lease(owner_id=self._owner_id, lease_expires_at=self._flue.clock.now() + self._timing.lease_ms)
        replaced = await self._bridge.call(self._flue.submissions.replace_attempt, attempt, new_id("attempt"), lease)
        if replaced is not None:
            self._telemetry.event("recovered", submission_id=row.submission_id, agent=row.input["agent"], by="replacement")
            self._start(replaced)

    async def _requeue(self, attempt: Attempt) -> bool:
        try:
            return await self._bridge.call(self._flue.submissions.requeue, attempt)
        except OutcomeUnknown:
            return False


def _exhausted(row: Submission, before_input: bool) -> FlueError:
    if before_input:
        return SubmissionInterruptedError(
            "Submission was repeatedly interrupted before input application and exhausted its retry budget.",
            meta={"phase": "retry_exhausted_before_input"},
        )
    return SubmissionRetryExhaustedError(
        f"Submission exceeded maximum recovery attempts ({row.attempt_count}/{row.max_attempts}).",
        meta={"attemptCount": row.attempt_count, "maxAttempts": row.max_attempts},
    )
