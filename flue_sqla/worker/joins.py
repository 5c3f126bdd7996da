"""Messages that arrive while their session is busy join the running response (spec/lifecycle.md §7.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flue_sqla.errors import OutcomeUnknown
from flue_sqla.records.submission import Submission
from flue_sqla.wire import utf16_length
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.inputs import is_applied, joined_records
from flue_sqla.worker.interruptions import Lost
from flue_sqla.worker.persisting import persist
from flue_sqla.worker.telemetry import Telemetry
from flue_sqla.worker.writer import Writer

__all__ = ["Delivery", "Joins"]

_AT_ONCE: Final = 64
_LENGTH_AT_ONCE: Final = 256 * 1024
"""Text of one batch in UTF-16 units, unless a single message is longer: far below what a stream takes, escaped or not."""


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
        children = await persist(self._execution, lambda: self._bridge.call(self._submissions.list_joined, host.submission_id))
        stays = []
        for child in children:
            if child.status == "joined" or is_applied(self._writer.state, child):
                stays.append(child)
            else:
                await self._revert(child)
        arrived = [child for child in stays if child.status == "joining"]
        if arrived:
            await self._finalize(arrived)
        if stays:
            self._execution.joined = True
            self.adopted += map(_delivery, stays)

    async def claim(self) -> list[Delivery]:
        """Take in the deliveries that wait in the queue now, in order; those adopted from an earlier attempt come first."""
        adopted, self.adopted = self.adopted, []
        self._execution.check()
        taken = []
        for some in _groups(await self._claimed()):
            # Set before anything is written: from here on a settlement has to look for children.
            self._execution.joined = True
            attempt_id, now = self._execution.attempt.attempt_id, self._bridge.flue.clock.now()
            await self._writer.append(lambda state, c=some, at=now: joined_records(state, c, attempt_id, at))  # type: ignore[misc]  # noqa: B023
            await self._finalize(some)
            for child in some:
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

    async def _finalize(self, children: Sequence[Submission]) -> None:
        host, ids = self._execution.attempt, [child.submission_id for child in children]
        if not await persist(self._execution, lambda: self._bridge.call(self._submissions.finalize_joins, host, ids)):
            self._execution.interrupt(Lost("a delivery could not join: the attempt is not running any more"))
            self._execution.check_owned()

    async def _revert(self, child: Submission) -> None:
        host = self._execution.attempt
        try:
            await self._bridge.call(self._submissions.revert_join, host, child.submission_id)
        except OutcomeUnknown:
            # Whether it arrived or not: the end of this submission gives it back to the queue.
            return


def _groups(children: Sequence[Submission]) -> Iterator[list[Submission]]:
    """The deliveries in their order, as many together as one batch should hold."""
    group: list[Submission] = []
    length = 0
    for child in children:
        own = _text_length(child)
        if group and (len(group) == _AT_ONCE or length + own > _LENGTH_AT_ONCE):
            yield group
            group, length = [], 0
        group.append(child)
        length += own
    if group:
        yield group


def _text_length(child: Submission) -> int:
    message = child.input["message"]
    return utf16_length(message["body"]) + sum(utf16_length(value) for value in message.get("attributes", {}).values())


def _delivery(child: Submission) -> Delivery:
    return Delivery(child.submission_id, child.input["message"], child)
