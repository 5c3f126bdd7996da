"""What an ``async def`` handler gets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast, overload

from flue_sqla.conversation import ConversationState
from flue_sqla.errors import InvalidInputError
from flue_sqla.records.submission import Attempt, Submission
from flue_sqla.wire import b64, new_id
from flue_sqla.worker.artifacts import BoundArtifacts
from flue_sqla.worker.bridge import in_thread
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.joins import Delivery, Joins
from flue_sqla.worker.ownership import Ownership
from flue_sqla.worker.steps import Steps
from flue_sqla.worker.writer import Writer, root_of

__all__ = ["Context"]

P = ParamSpec("P")
T = TypeVar("T")

_ENGINE_ONLY = frozenset({"conversation_created", "submission_settled", "tool_step_settled", "agent_start_run"})
_ENTRIES = frozenset({"user_message", "signal"})


class Context:
    """One run of a handler over one submission. Use it on the worker's event loop only.

    Everything here that has an effect is a *boundary*: it first makes sure that the attempt is still ours, and raises an
    :class:`~flue_sqla.worker.Interruption` when the worker stops, the session was aborted or the deadline has passed.
    """

    def __init__(
        self, execution: Execution, ownership: Ownership, writer: Writer, steps: Steps, joins: Joins, artifacts: BoundArtifacts
    ) -> None:
        self._execution = execution
        self._ownership = ownership
        self._writer = writer
        self._steps = steps
        self._joins = joins
        self._appended = 0
        #: ``flue.artifacts``, whose ``put`` carries this submission's id and is refused once the attempt is not ours.
        self.artifacts = artifacts

    # -- what is to be done -----------------------------------------------------------------------------------------------------

    @property
    def submission(self) -> Submission:
        """The submission as it was when this attempt began."""
        return self._execution.submission

    @property
    def attempt(self) -> Attempt:
        """The fence of everything that is written."""
        return self._execution.attempt

    @property
    def message(self) -> dict[str, Any]:
        """The user or signal message, for example ``ctx.message["body"]``."""
        return cast("dict[str, Any]", self._execution.submission.input["message"])

    @property
    def initial_data(self) -> Any:
        """What the instance was born with; None without any."""
        return self._writer.state.initial_data

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self._execution.agent_name

    @property
    def id(self) -> str:
        """The instance, as ``flue.dispatch(agent, id=…)`` named it."""
        return cast("str", self._execution.submission.input["id"])

    @property
    def path(self) -> str:
        """The conversation stream, for ``flue.conversations.read``."""
        return self._execution.path

    # -- durable work -----------------------------------------------------------------------------------------------------------

    @overload
    async def step(self, name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def step(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``function`` once and record what it returns; after a crash the recorded value is returned without running it.

        A crash between the run and its record runs it again, so its effects have to bear that: at least once. A plain function runs in a
        thread. Steps may run side by side (``asyncio.gather``).

        Args:
            name: unique within the submission, and the same in every attempt.
            function: returns any JSON; what comes back is the value as JSON keeps it (a tuple as a list).

        Raises:
            InvalidInputError: the name occurs twice, or the value has no JSON text.
        """
        recorded = await self._steps.begin(name)
        if recorded is not None:
            return recorded.value
        if inspect.iscoroutinefunction(function):
            value = await function(*args, **kwargs)
        else:
            value = await in_thread(function, *args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
        return await self._steps.record(name, value)

    async def append(self, record: Mapping[str, Any]) -> str:
        """Append one record to the conversation and return its id; the envelope is filled in (spec/streams.md §6.1).

        Records are numbered in the order of the calls, and one that an earlier attempt appended is not appended again: make the same
        calls in every attempt, or give each record an ``id`` of its own.

        Raises:
            ConversationRecordInvariantError: no reader would accept the record here; nothing was appended.
            InvalidInputError: the type is missing, or one that only the engine may write.
        """
        record_type = record.get("type")
        if not isinstance(record_type, str) or record_type in _ENGINE_ONLY:
            raise InvalidInputError(f"A handler cannot append a record of type {record_type!r}.", meta={"type": record_type})
        number, self._appended = self._appended, self._appended + 1
        record_id = str(record.get("id") or f"record_append_{b64(self.submission.submission_id)}_{number}")
        self._ownership.check()
        at = self._execution.now()

        def build(state: ConversationState) -> list[dict[str, Any]]:
            if record_id in state.record_digests:
                return []
            fields = {key: value for key, value in record.items() if key not in ("id", "type")}
            if record_type in _ENTRIES:
                fields = {"messageId": new_id("entry"), "parentId": root_of(state).leaf, **fields}
            return [self._writer.envelope().record(record_type, at, fields, record_id=record_id)]

        await self._writer.append(build)
        return record_id

    async def joins(self) -> list[Delivery]:
        """The messages of this session that arrived meanwhile, taken into this response in their order; a turn boundary.

        What joined is part of this submission from then on: it is not run by itself, and is settled with this one's outcome. After a
        crash the first call hands out again what had joined. A handler that never calls this leaves later messages to later runs.
        """
        self._ownership.check()
        return await self._joins.claim()

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Every message that has arrived or arrives while the iteration goes on; it ends when none is waiting."""
        while arrived := await self.joins():
            for delivery in arrived:
                yield delivery

    async def check(self) -> None:
        """A boundary and nothing else, for a long computation between two steps."""
        self._ownership.check()
        await asyncio.sleep(0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.agent}/{self.id} {self.submission.submission_id}>"
