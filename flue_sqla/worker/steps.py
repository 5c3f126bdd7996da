"""Durable steps: run once, recorded in the conversation, replayed from there (spec/streams.md §6.2 ``tool_step_settled``)."""

from __future__ import annotations

from typing import Any, NamedTuple

from flue_sqla.conversation import builders
from flue_sqla.errors import InvalidInputError
from flue_sqla.wire import canonical_json, parse_json
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.ownership import Ownership
from flue_sqla.worker.telemetry import Telemetry
from flue_sqla.worker.writer import Writer

__all__ = ["Recorded", "Steps", "step_call_id"]


class Recorded(NamedTuple):
    """The value that an earlier attempt recorded."""

    value: Any


def step_call_id(submission_id: str) -> str:
    """The synthetic call that all steps of a submission belong to; the same in each of its attempts."""
    return f"call_{submission_id}"


class Steps:
    """The steps of one run of a handler."""

    def __init__(self, execution: Execution, ownership: Ownership, writer: Writer, telemetry: Telemetry) -> None:
        self._execution = execution
        self._ownership = ownership
        self._writer = writer
        self._telemetry = telemetry
        self._call_id = step_call_id(execution.submission_id)
        self._begun: set[str] = set()
        #: How many values this run recorded: the progress by which retries are counted.
        self.recorded_here = 0

    async def begin(self, name: str) -> Recorded | None:
        """Begin a step; its value if it was recorded before, in this attempt or an earlier one.

        Raises:
            InvalidInputError: this run of the handler has begun a step of that name already.
            Interruption: the attempt must end; the step was not begun.
        """
        if name in self._begun:
            raise InvalidInputError(
                f"The step {name!r} occurs twice.",
                meta={"step": name, "submissionId": self._execution.submission_id},
                remedy="Give each step of a submission a name of its own, for example with the number of the item in it.",
            )
        key = (self._call_id, name)
        if key in self._writer.state.steps:
            # A replay has no effect, so it is no boundary: a stopping worker goes on to the first step that is still to do.
            self._ownership.check_open()
            self._begun.add(name)
            self._telemetry.event("step_replayed", submission_id=self._execution.submission_id, agent=self._execution.agent_name, step=name)
            return Recorded(self._writer.state.steps[key])
        self._begun.add(name)
        await self._ownership.prove()
        return None

    async def record(self, name: str, value: Any) -> Any:
        """Record the value; what is returned is what every later attempt will see.

        Raises:
            InvalidInputError: the value has no JSON text.
            Lost: the attempt is not ours any more; nothing was recorded.
        """
        recorded = parse_json(canonical_json(value))
        self._ownership.check_open()
        at = self._execution.now()
        await self._writer.append(
            lambda _state: [
                builders.tool_step_settled(
                    self._writer.envelope(),
                    at,
                    tool_call_id=self._call_id,
                    tool_name=self._execution.agent_name,
                    step_name=name,
                    value=recorded,
                )
            ]
        )
        self.recorded_here += 1
        return recorded
