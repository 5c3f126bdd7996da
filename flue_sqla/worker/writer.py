"""Appending to the conversation of one attempt (spec/lifecycle.md §4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from flue_sqla.conversation import Conversation, ConversationState, Envelope
from flue_sqla.errors import ConversationStreamStoreError, InternalStateError
from flue_sqla.records.submission import Attempt
from flue_sqla.worker.acquisition import Acquired
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.children import Child, NotJoined, settle_as
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.interruptions import Lost
from flue_sqla.worker.persisting import persist
from flue_sqla.worker.views import View, Views

__all__ = ["Build", "Writer", "root_of"]

Record: TypeAlias = dict[str, Any]
Build = Callable[[ConversationState], Sequence[Record]]
"""The records to append to a stream in this state; none when they are there already."""


class Writer:
    """The producer of one stream while one attempt runs.

    Each batch is folded before it is sent, so that what no reader would accept never reaches the store. Appends follow one another.
    """

    def __init__(self, bridge: Bridge, views: Views, view: View, execution: Execution, acquired: Acquired) -> None:
        self._bridge = bridge
        self._views = views
        self._view = view
        self._execution = execution
        self._claim = acquired.claim
        self._sequence = acquired.next_sequence
        self._lock = asyncio.Lock()
        #: An append failed for good; the view is not the stream any more.
        self.failed = False

    @property
    def state(self) -> ConversationState:
        """The stream as it is, this writer's own appends included."""
        return self._view.state

    def envelope(self) -> Envelope:
        """The envelope of records of this attempt."""
        own = self._execution.attempt
        return Envelope.of(root_of(self.state), own.submission_id, own.attempt_id)

    async def append(self, build: Build, *, authorization: Attempt | None = None) -> bool:
        """Append what ``build`` makes of the current state, as one batch.

        Args:
            authorization: whose records they are; default this attempt's own.

        Returns:
            False when there was nothing to append.

        Raises:
            Lost: another producer or attempt owns the stream; nothing was appended.
            ConversationRecordInvariantError: no reader would accept the records; nothing was appended.
            ConversationStreamStoreError: the batch is too large; the writer is of no use any more.
        """
        async with self._lock:
            self._execution.check_owned()
            if self.failed:
                raise Lost("an earlier append failed")
            records = list(build(self.state))
            if not records or self.state.apply_batch(records) == 0:
                return False
            try:
                self._view.offset = await persist(self._execution, lambda: self._send(records, authorization or self._execution.attempt))
            except ConversationStreamStoreError as refused:
                await self._refused(refused)
            except asyncio.CancelledError:
                # The call was seen to its end before the cancellation came, but not its answer.
                self._fail()
                raise
            except BaseException:
                self._fail()
                raise
            self._sequence += 1
            return True

    async def settle(self, children: Sequence[Child], error_message: str | None) -> bool:
        """Settle deliveries that joined, and append their records, each as a batch of its own; all of them in one transaction.

        Returns:
            False when that cannot be done together: nothing was written, and the writer is of no use any more.

        Raises:
            Lost: another producer or attempt owns the stream; nothing was written.
        """
        async with self._lock:
            self._execution.check_owned()
            call, flue, path = self._bridge.call, self._bridge.flue, self._view.path
            try:
                if self.failed or not all(self.state.apply(child.record) for child in children):
                    raise NotJoined
                self._view.offset = await persist(
                    self._execution, lambda: call(settle_as, flue, path, self._claim, self._sequence, children, error_message)
                )
            except NotJoined:
                self._fail()
                return False
            except ConversationStreamStoreError as refused:
                await self._refused(refused)
            except BaseException:
                self._fail()
                raise
            self._sequence += len(children)
            return True

    async def _send(self, records: Sequence[Record], authorization: Attempt) -> str:
        return await self._bridge.call(
            self._bridge.flue.conversations.append,
            self._view.path,
            producer_id=self._claim.producer_id,
            producer_epoch=self._claim.producer_epoch,
            incarnation=self._claim.incarnation,
            producer_sequence=self._sequence,
            records=records,
            submission=authorization,
        )

    async def _refused(self, refused: ConversationStreamStoreError) -> None:
        """Tell a fence from a batch that cannot be stored: by who owns the row, not by the text of the refusal."""
        self._fail()
        own, flue, call = self._execution.attempt, self._bridge.flue, self._bridge.call
        holdings = await persist(self._execution, lambda: call(flue.submissions.holdings, [own.submission_id]))
        holding = holdings.get(own.submission_id)
        meta = await persist(self._execution, lambda: call(flue.conversations.get_meta, self._view.path))
        owns_row = holding is not None and holding.attempt_id == own.attempt_id and holding.status in ("running", "terminalizing")
        owns_stream = meta is not None and (meta.producer_id, meta.producer_epoch) == (self._claim.producer_id, self._claim.producer_epoch)
        if owns_row and owns_stream:
            raise refused
        lost = Lost("another attempt or producer owns the stream")
        self._execution.interrupt(lost)
        raise lost from refused

    def _fail(self) -> None:
        self.failed = True
        self._views.forget(self._view.path)


def root_of(state: ConversationState) -> Conversation:
    """The default conversation of a stream that has been materialized."""
    root = state.root
    if root is None:
        raise InternalStateError(
            "The conversation of a ready submission has no birth record.",
            remedy="Whoever declares a submission ready writes its birth record first; flue.dispatch() does.",
        )
    return root
