"""Messages that arrive while their session is busy join the running response (spec/lifecycle.md §7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flue_sqla.errors import OutcomeUnknown
from flue_sqla.records.submission import Submission
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.inputs import input_records, is_applied
from flue_sqla.worker.interruptions import Lost
from flue_sqla.worker.persisting import persist
from flue_sqla.worker.telemetry import Telemetry
from flue_sqla.worker.writer import Writer

__all__ = ["Delivery", "Joins"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that joined this response. It is answered, settled and aborted together with it."""

    submission_id: str
    message: dict[str, Any]
    submission: Submission


class Joins:
    """The deliveries of one attempt."""

    def __init__(self, bridge: Bridge, execution: Execution, writer: Writer, telemetry: Telemetry) -> None:
        self._bridge = bridge
        self._submissions = bridge.flue.submissions
        self._execution = execution
        self._writer = writer
        self._telemetry = telemetry
        #: Those that an earlier attempt took in; the handler has to hear of them again.
        self.adopted: list[Delivery] = []

    async def repair(self) -> None:
        """Resolve what a crash left: a delivery whose input is in the stream has joined, any other goes back to the queue."""
        host = self._execution.attempt
        for child in await persist(self._execution, lambda: self._bridge.call(self._submissions.list_joined, host.submission_id)):
            if child.status == "joining" and not is_applied(self._writer.state, child):
                await self._revert(child)
                continue
            if child.status == "joining":
                await self._finalize(child)
            self._execution.joined = True
            self.adopted.append(_delivery(child))

    async def claim(self) -> list[Delivery]:
        """Take in the deliveries that wait in the queue now, in order; those adopted from an earlier attempt come first."""
        adopted, self.adopted = self.adopted, []
        self._execution.check()
        taken = []
        for child in await self._claimed():
            # Set before anything is written: from here on a settlement has to look for children.
            self._execution.joined = True
            envelope = self._writer.envelope(submission_id=child.submission_id)
            now = self._bridge.flue.clock.now()
            await self._writer.append(lambda state, c=child, e=envelope, at=now: input_records(state, c, e, at))  # type: ignore[misc]
            await self._finalize(child)
            self._telemetry.event("joined", submission_id=child.submission_id, host=self._execution.submission_id)
            taken.append(_delivery(child))
        return [*adopted, *taken]

    async def _claimed(self) -> list[Submission]:
        host, agent = self._execution.attempt, self._execution.agent_name
        try:
            return await self._bridge.call(self._submissions.claim_joinable, host, agent)
        except OutcomeUnknown:
            known = await persist(self._execution, lambda: self._bridge.call(self._submissions.list_joined, host.submission_id))
            return [child for child in known if child.status == "joining"]

    async def _finalize(self, child: Submission) -> None:
        host = self._execution.attempt
        if not await persist(self._execution, lambda: self._bridge.call(self._submissions.finalize_join, host, child.submission_id)):
            self._execution.interrupt(Lost("a delivery could not join: the attempt is not running any more"))
            self._execution.check_owned()

    async def _revert(self, child: Submission) -> None:
        host = self._execution.attempt
        try:
            await self._bridge.call(self._submissions.revert_join, host, child.submission_id)
        except OutcomeUnknown:
            # Whether it arrived or not: the end of this submission gives it back to the queue.
            return


def _delivery(child: Submission) -> Delivery:
    return Delivery(child.submission_id, child.input["message"], child)
