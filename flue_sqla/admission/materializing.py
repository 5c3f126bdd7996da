"""Giving an admitted submission a conversation to run in: birth record, attachments, readiness (spec/lifecycle.md §3)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from flue_sqla.admission.births import root_birth
from flue_sqla.clock import Clock
from flue_sqla.conversation import builders, submission_attachments
from flue_sqla.errors import InternalStateError, OutcomeUnknown, SerializationConflict
from flue_sqla.records.attachment import AttachmentRef
from flue_sqla.records.submission import Submission
from flue_sqla.repositories.attachments import Attachments
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.repositories.submissions import Submissions
from flue_sqla.wire import new_id, stream_path

__all__ = ["Materializer"]

_TRIES: Final = 5


class _Repositories(Protocol):
    @property
    def submissions(self) -> Submissions: ...

    @property
    def conversations(self) -> Conversations: ...

    @property
    def attachments(self) -> Attachments: ...


class _BornAlready(Exception):
    """Somebody else was faster. Leaving the transaction by an exception also takes the acquisition back."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(conversation_id)
        self.conversation_id = conversation_id


class Materializer:
    """Makes admitted submissions ready. Safe for many threads and tasks.

    A stream that has its root's birth record is only read: acquiring its producer would fence the turn that may be running on it. Where
    the record is missing, acquiring, looking once more and appending are one transaction, so that an acquisition without need is
    rolled back and fences nobody.
    """

    def __init__(self, repositories: _Repositories, begin: Callable[[], AbstractContextManager[Any]], clock: Clock) -> None:
        self._repositories = repositories
        self._begin = begin
        self._clock = clock
        self._producer_id = new_id("owner")

    def __call__(self, submission: Submission) -> Submission | None:
        """Put what the submission needs in place and mark it ready.

        Returns:
            The ready submission; None when it is not queued any more (another process was faster, or it was aborted).

        Raises:
            InvalidInputError: an attachment is not base64.
            ConversationStreamStoreError, AttachmentConflictError: the stream or an attachment id belongs to something else.
        """
        payload = submission.input
        path = stream_path(payload["agent"], payload["id"])
        attachments = submission_attachments(payload)
        conversation_id = _conversation_id(self._repositories.conversations, path) or self._give_birth(path, payload)
        for ref, data in attachments:
            self._repositories.attachments.put(path, AttachmentRef.from_wire(ref), data, conversation_id)
        return self._repositories.submissions.mark_ready(submission.submission_id)

    def _give_birth(self, path: str, payload: dict[str, Any]) -> str:
        self._repositories.conversations.create(path, payload["agent"], payload["id"])
        for _ in range(_TRIES):
            try:
                with self._begin() as unit:
                    return self._append_birth(unit.conversations, path, payload)
            except _BornAlready as born:
                return born.conversation_id
            except (SerializationConflict, OutcomeUnknown):
                # Deadlock victim, busy file or lost answer: look again.
                continue
        raise InternalStateError(f"The conversation of {path} cannot be created.", meta={"path": path})

    def _append_birth(self, conversations: Conversations, path: str, payload: dict[str, Any]) -> str:
        claim = conversations.acquire_producer(path, self._producer_id)
        existing = _conversation_id(conversations, path)
        if existing is not None:
            raise _BornAlready(existing)
        birth = builders.birth_record(self._clock.now(), payload)
        conversations.append(
            path,
            producer_id=claim.producer_id,
            producer_epoch=claim.producer_epoch,
            incarnation=claim.incarnation,
            producer_sequence=claim.next_producer_sequence,
            records=[birth],
        )
        return str(birth["conversationId"])


def _conversation_id(conversations: Conversations, path: str) -> str | None:
    birth = root_birth(conversations, path)
    return None if birth is None else str(birth["conversationId"])
