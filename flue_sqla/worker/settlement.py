"""Ending a submission: reserve, append, finalize, each recoverable by whoever comes next (spec/lifecycle.md §8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar

from flue_sqla.conversation import Conversation, ConversationState, Envelope, builders, repairs
from flue_sqla.errors import (
    ConversationRecordInvariantError,
    ConversationStreamStoreError,
    FlueError,
    InternalStateError,
    SubmissionAbortedError,
)
from flue_sqla.records.submission import Attempt, Submission
from flue_sqla.wire import advisory_record_id, stream_path
from flue_sqla.worker.acquisition import NotOurs, StreamMoved, acquire
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.children import Child, NotJoined, in_groups, settle_as_new_producer
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.persisting import PASSING, persist
from flue_sqla.worker.telemetry import Telemetry, log
from flue_sqla.worker.views import Views
from flue_sqla.worker.writer import Build, Writer, root_of

__all__ = ["OutcomeName", "Settlements", "aborted"]

P = ParamSpec("P")
T = TypeVar("T")

OutcomeName: TypeAlias = Literal["completed", "failed", "aborted"]

_TRIES: Final = 20


def aborted() -> SubmissionAbortedError:
    """The error of an aborted submission."""
    return SubmissionAbortedError("Submission was aborted.")


class Settlements:
    """Settles submissions for attempts that run here, and for attempts whose worker is gone."""

    def __init__(self, bridge: Bridge, views: Views, telemetry: Telemetry, owner_id: str) -> None:
        self._bridge = bridge
        self._flue = bridge.flue
        self._views = views
        self._telemetry = telemetry
        self._owner_id = owner_id

    async def settle(
        self,
        submission: Submission,
        attempt: Attempt,
        outcome: OutcomeName,
        error: BaseException | None = None,
        *,
        execution: Execution | None = None,
        writer: Writer | None = None,
        children: bool = True,
    ) -> bool:
        """Settle the children that joined, then the submission itself.

        Args:
            attempt: the attempt that owns the submission.
            execution: the attempt, when it runs here: while its lease lasts, an unreachable database is waited for.
            writer: the attempt's own writer; without one the stream is taken over again and again.
            children: whether any can have joined.

        Returns:
            False when another process owns the outcome. Everything done so far is found and finished by whoever comes next.

        Raises:
            Lost: the lease of ``execution`` lapsed on the way.
        """
        joined: list[Submission] = []
        if children:
            joined = await self._call(execution, self._flue.submissions.list_joined, submission.submission_id)
        for group in in_groups([child for child in joined if child.status == "joined"]):
            if await self._settle_together(group, attempt.attempt_id, outcome, error, writer):
                continue
            for child in group:
                await self._settle_one(child, attempt.attempt_id, outcome, error, execution, writer)
        return await self._settle_one(submission, attempt.attempt_id, outcome, error, execution, writer)

    async def _call(self, execution: Execution | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if execution is None:
            return await self._bridge.call(function, *args, **kwargs)
        return await persist(execution, lambda: self._bridge.call(function, *args, **kwargs))

    async def _settle_together(
        self,
        children: Sequence[Submission],
        attempt_id: str,
        outcome: OutcomeName,
        error: BaseException | None,
        writer: Writer | None,
    ) -> bool:
        """Settle children in one transaction; False when they have to be looked at one by one."""
        path = stream_path(children[0].input["agent"], children[0].input["id"])
        message = _message(error)

        def settling(state: ConversationState) -> list[Child]:
            conversations = [state.conversation_of(child.submission_id) or root_of(state) for child in children]
            return [
                Child(
                    Attempt(submission_id=child.submission_id, attempt_id=attempt_id),
                    self._record(conversation, child, attempt_id, outcome, error),
                )
                for conversation, child in zip(conversations, children, strict=True)
            ]

        if writer is not None and not writer.failed:
            done = await writer.settle(settling(writer.state), message)
        else:
            done = await self._settle_as_new_producer(path, settling, message)
        for child in children if done else ():
            self._tell(child, outcome)
        return done

    async def _settle_as_new_producer(self, path: str, settling: Callable[[ConversationState], list[Child]], message: str | None) -> bool:
        for _ in range(_TRIES):
            try:
                view = await self._views.current(path)
                children = [] if view.state.root is None else settling(view.state)
                if not children or not all(view.state.apply(child.record) for child in children):
                    raise NotJoined
                view.offset = await self._bridge.call(
                    settle_as_new_producer, self._flue, path, self._owner_id, view.offset, children, message
                )
            except StreamMoved:
                self._views.forget(path)
                continue
            except (NotJoined, ConversationStreamStoreError, ConversationRecordInvariantError, *PASSING):
                self._views.forget(path)
                return False
            except BaseException:
                self._views.forget(path)
                raise
            return True
        return False

    def _record(
        self, conversation: Conversation, submission: Submission, attempt_id: str, outcome: OutcomeName, error: BaseException | None
    ) -> dict[str, Any]:
        envelope = Envelope.of(conversation, submission.submission_id, attempt_id)
        public = None if error is None else builders.settlement_error(error)
        return builders.submission_settled(envelope, self._flue.clock.now(), submission.kind, outcome, error=public)

    async def _settle_one(
        self,
        submission: Submission,
        attempt_id: str,
        outcome: OutcomeName,
        error: BaseException | None,
        execution: Execution | None,
        writer: Writer | None,
    ) -> bool:
        own = Attempt(submission_id=submission.submission_id, attempt_id=attempt_id)
        path = stream_path(submission.input["agent"], submission.input["id"])
        conversation = await self._conversation(path, submission.submission_id, writer)
        if conversation is None:
            return await self._settle_without_stream(submission, own, outcome, error, execution)
        record = self._record(conversation, submission, attempt_id, outcome, error)
        obligation = await self._call(execution, self._flue.submissions.reserve_settlement, own, record["id"], record)
        if obligation is None:
            self._telemetry.event("settlement_elsewhere", logging.INFO, submission_id=submission.submission_id)
            return False
        await self.append_settlement(path, own, obligation.record, writer)
        done = await self._call(execution, self._flue.submissions.finalize_settlement, own, record["id"], _message(error))
        if done:
            self._tell(submission, outcome)
        return done

    async def append_settlement(self, path: str, attempt: Attempt, record: Mapping[str, Any], writer: Writer | None = None) -> None:
        """Put a reserved record into the stream, unless it is there.

        Raises:
            InternalStateError: the stream holds this record with other content; the row stays as it is.
        """
        if writer is not None and not writer.failed:
            await writer.append(lambda _state: [dict(record)], authorization=attempt)
            return
        if not await self._take_over(path, attempt, lambda _state: [dict(record)], unless=str(record["id"])):
            # There already; when it differs, the stream is the authority, and the fold says so.
            view = await self._views.current(path)
            try:
                view.state.apply(dict(record))
            except ConversationRecordInvariantError as different:
                raise InternalStateError(
                    f"The stream {path} holds another outcome than the row of {attempt.submission_id}.",
                    meta={"submissionId": attempt.submission_id, "recordId": record["id"]},
                    remedy="The stream is the authority; look at both records and settle the row by hand.",
                ) from different

    async def advise(self, submission: Submission, attempt: Attempt, kind: Literal["aborted", "interrupted"]) -> None:
        """Tell the model of later submissions why this one ended early; best effort."""
        path = stream_path(submission.input["agent"], submission.input["id"])

        def build(state: ConversationState) -> list[dict[str, Any]]:
            root, at = root_of(state), self._flue.clock.now()
            envelope = Envelope.of(root, submission.submission_id, attempt.attempt_id)
            records = [*repairs.close_draft(root, envelope, at), *repairs.close_batch(root, envelope, at, rules=state.rules)]
            # Folded at once: what follows needs the leaf that the repairs lead to.
            state.apply_batch(records)
            return [*records, builders.advisory_signal(envelope, at, kind, parent_id=root.leaf)]

        try:
            await self._take_over(path, attempt, build, unless=advisory_record_id(kind, submission.submission_id))
        except (FlueError, NotOurs) as error:
            log.warning("No advisory for submission %s: %s", submission.submission_id, error)

    async def _take_over(self, path: str, attempt: Attempt, build: Build, *, unless: str) -> bool:
        """Append as the stream's new producer, under the authorization of ``attempt``. False when the record ``unless`` is there."""
        for _ in range(_TRIES):
            view = await self._views.current(path)
            if view.state.root is None or unless in view.state.record_digests:
                return False
            try:
                records = build(view.state)
                view.state.apply_batch(records)
                acquired = await self._bridge.call(
                    acquire, self._flue, path, self._owner_id, attempt, expected_offset=view.offset, records=records
                )
            except StreamMoved:
                self._views.forget(path)
                continue
            except BaseException:
                self._views.forget(path)
                raise
            view.offset = acquired.offset
            return True
        raise InternalStateError(f"The stream {path} moves all the time.", meta={"path": path})

    async def _conversation(self, path: str, submission_id: str, writer: Writer | None) -> Conversation | None:
        if writer is not None and not writer.failed:
            return writer.state.conversation_of(submission_id)
        try:
            return (await self._views.current(path)).state.conversation_of(submission_id)
        except ConversationRecordInvariantError as error:
            log.error("The stream %s is unreadable; the row alone tells the outcome: %s", path, error)
            return None

    async def _settle_without_stream(
        self, submission: Submission, own: Attempt, outcome: OutcomeName, error: BaseException | None, execution: Execution | None
    ) -> bool:
        if outcome == "completed":
            done = await self._call(execution, self._flue.submissions.complete, own)
        else:
            done = await self._call(execution, self._flue.submissions.fail, own, error or aborted())
        if done:
            self._tell(submission, outcome)
        return done

    async def finish(self, submission_id: str, attempt: Attempt, path: str, record: Mapping[str, Any]) -> bool:
        """Carry a reserved settlement to its end for a worker that is gone."""
        await self.append_settlement(path, attempt, record)
        done = await self._bridge.call(self._flue.submissions.finalize_settlement, attempt, str(record["id"]))
        if done:
            self._telemetry.event("settlement_finished", submission_id=submission_id)
        return done

    def _tell(self, submission: Submission, outcome: OutcomeName) -> None:
        self._telemetry.event("settled", submission_id=submission.submission_id, agent=submission.input["agent"], outcome=outcome)


def _message(error: BaseException | None) -> str | None:
    """What the row says of the error."""
    return None if error is None else str(error) or type(error).__name__
