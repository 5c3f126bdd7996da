"""What every record has: identity, place, time and owner, in the key order of a Flue session (spec/streams.md §6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flue_sqla.conversation.graph import Conversation
from flue_sqla.wire import format_timestamp, new_id


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where records are written and who owns them. Records without ``submission_id`` and ``attempt_id`` are unowned."""

    conversation_id: str
    harness: str = "default"
    session: str = "default"
    submission_id: str | None = None
    attempt_id: str | None = None
    operation_id: str | None = None
    turn_id: str | None = None

    @classmethod
    def of(cls, conversation: Conversation, submission_id: str | None = None, attempt_id: str | None = None, **ids: str | None) -> Envelope:
        """The envelope of records in ``conversation``; ``ids`` are ``operation_id`` and ``turn_id``."""
        return cls(conversation.id, conversation.harness, conversation.session, submission_id, attempt_id, **ids)

    def record(self, record_type: str, at: int, fields: Mapping[str, Any] | None = None, *, record_id: str | None = None) -> dict[str, Any]:
        """A record of this envelope with ``fields`` after it; ``at`` is epoch milliseconds; without ``record_id`` a new id is made."""
        record: dict[str, Any] = {
            "v": 1,
            "id": record_id or new_id("record"),
            "type": record_type,
            "conversationId": self.conversation_id,
            "harness": self.harness,
            "session": self.session,
            "timestamp": format_timestamp(at),
        }
        owner = (
            ("submissionId", self.submission_id),
            ("attemptId", self.attempt_id),
            ("operationId", self.operation_id),
            ("turnId", self.turn_id),
        )
        record.update({key: value for key, value in owner if value is not None})
        if fields:
            record.update(fields)
        return record
