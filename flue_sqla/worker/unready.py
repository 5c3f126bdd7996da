"""Making ready what was admitted and left so: by a host's transaction, or a process that died (spec/lifecycle.md §5.2)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from flue_sqla.errors import FlueError
from flue_sqla.records.submission import Submission
from flue_sqla.worker.agent import Agent
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.persisting import PASSING
from flue_sqla.worker.settlement import aborted
from flue_sqla.worker.telemetry import Telemetry
from flue_sqla.worker.timing import Timing

__all__ = ["UnreadyPass"]


class UnreadyPass:
    """Materializes queued submissions of our agents; those of other agents are other workers' business."""

    def __init__(
        self, bridge: Bridge, agents: Mapping[str, Agent], telemetry: Telemetry, timing: Timing, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bridge = bridge
        self._agents = agents
        self._telemetry = telemetry
        self._grace = timing.unready_ms / 1000
        self._clock = clock
        self._first_seen: dict[str, float] = {}

    async def run(self) -> float | None:
        """One pass.

        Returns:
            Seconds until a submission that was seen here is old enough for another pass; None when none is waiting.
        """
        flue, now = self._bridge.flue, self._clock()
        rows = [row for row in await self._bridge.call(flue.submissions.list_unready) if row.input["agent"] in self._agents]
        # Whoever has just admitted a submission is making it ready; doing the same at once would be work for nothing.
        self._first_seen = {row.submission_id: self._first_seen.get(row.submission_id, now) for row in rows}
        waiting = []
        for row in rows:
            due = self._first_seen[row.submission_id] + self._grace
            if due > now and row.abort_requested_at is None:
                waiting.append(due - now)
            else:
                await self._make_ready(row)
        return min(waiting, default=None)

    async def _make_ready(self, row: Submission) -> None:
        flue = self._bridge.flue
        if row.abort_requested_at is not None:
            await self._settle(row, "aborted", aborted())
            return
        try:
            if await self._bridge.call(flue.materializer, row) is not None:
                self._telemetry.event("made_ready", logging.DEBUG, submission_id=row.submission_id)
        except PASSING:
            raise
        except FlueError as error:
            timeout = self._agents[row.input["agent"]].timeout_ms
            if flue.clock.now() >= row.accepted_at + timeout:
                await self._settle(row, "failed", error)
            else:
                self._telemetry.event("not_ready", logging.WARNING, submission_id=row.submission_id, code=error.code)

    async def _settle(self, row: Submission, outcome: str, error: FlueError) -> None:
        if await self._bridge.call(self._bridge.flue.submissions.settle_queued, row.submission_id, outcome, error):
            self._telemetry.event("settled", submission_id=row.submission_id, agent=row.input["agent"], outcome=outcome)
