"""Keeping what runs here, and noticing in time what is not ours any more or has to end (spec/lifecycle.md §9)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.interruptions import Lost, Stopping
from flue_sqla.worker.ownership import compare
from flue_sqla.worker.telemetry import Telemetry, log
from flue_sqla.worker.timing import Timing

__all__ = ["Holder"]


class Holder:
    """Renews all leases in one statement and looks at all rows in another."""

    def __init__(
        self, bridge: Bridge, telemetry: Telemetry, timing: Timing, owner_id: str, executions: Callable[[], Collection[Execution]]
    ) -> None:
        self._bridge = bridge
        self._submissions = bridge.flue.submissions
        self._clock = bridge.flue.clock
        self._telemetry = telemetry
        self._timing = timing
        self._owner_id = owner_id
        self._executions = executions

    async def run(self) -> None:
        """Until cancelled. A failure is logged and tried again: the leases say themselves how long that may go on."""
        loop = asyncio.get_running_loop()
        pause = min(self._timing.watch_ms, self._timing.heartbeat_ms) / 1000
        next_beat = loop.time() + self._timing.heartbeat_ms / 1000
        while True:
            await asyncio.sleep(pause)
            try:
                if loop.time() >= next_beat:
                    next_beat = loop.time() + self._timing.heartbeat_ms / 1000
                    await self.renew()
                await self.watch()
            except Exception as error:
                log.warning("The leases cannot be renewed or looked at now: %s", error)
            self._judge_by_clock()

    async def renew(self) -> None:
        """Extend the leases that have not run out by our own clock; one that has may be somebody else's by now."""
        now = self._clock.now()
        ours = [execution for execution in self._executions() if now < execution.lease_until]
        for execution in ours:
            self._telemetry.lease_age(max(0, now - (execution.lease_until - self._timing.lease_ms)))
        ids = [execution.submission_id for execution in ours]
        if ids:
            await self._bridge.call(self._submissions.renew_leases, self._owner_id, ids, lease_expires_at=now + self._timing.lease_ms)

    async def watch(self) -> None:
        """Take over what the rows say: how long the lease lasts, whether it is ours at all, whether the work is to end."""
        executions = list(self._executions())
        if not executions:
            return
        holdings = await self._bridge.call(self._submissions.holdings, [execution.submission_id for execution in executions])
        for execution in executions:
            compare(execution, holdings.get(execution.submission_id), self._owner_id)

    def _judge_by_clock(self) -> None:
        now = self._clock.now()
        for execution in list(self._executions()):
            if now >= execution.lease_until:
                execution.interrupt(Lost("the lease has lapsed"))
            signalled = execution.signalled_at
            if signalled is None or isinstance(execution.interruption, Stopping) or execution.settling:
                continue
            grace = 0 if isinstance(execution.interruption, Lost) else self._timing.grace_ms
            if now >= signalled + grace and not execution.abandoned.is_set():
                self._telemetry.event("abandoned", logging.WARNING, submission_id=execution.submission_id, agent=execution.agent_name)
                execution.abandoned.set()
