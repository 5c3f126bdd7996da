"""The incremental fold of a conversation stream, with every rule that a Flue reader enforces (spec/streams.md §7)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from flue_sqla.conversation import assistants, births, entries, notes, tools
from flue_sqla.conversation.graph import Conversation, Rules, StreamGraph
from flue_sqla.conversation.records import Record, optional_text, text, violation
from flue_sqla.wire import canonical_json

_RULES: dict[str, Callable[[StreamGraph, Record, Conversation], None]] = {
    "user_message": entries.user_message,
    "signal": entries.signal,
    "compaction": entries.compaction,
    "assistant_message_started": assistants.started,
    "assistant_text_started": assistants.text_started,
    "assistant_text_delta": assistants.text_delta,
    "assistant_text_completed": assistants.text_completed,
    "assistant_reasoning_started": assistants.reasoning_started,
    "assistant_reasoning_delta": assistants.reasoning_delta,
    "assistant_reasoning_completed": assistants.reasoning_completed,
    "assistant_tool_call": assistants.tool_call,
    "assistant_message_completed": assistants.completed,
    "tool_outcome": tools.tool_outcome,
    "tool_results_committed": tools.tool_results_committed,
    "tool_step_settled": tools.tool_step_settled,
    "child_session_retained": births.child_session_retained,
    "submission_settled": notes.submission_settled,
    "state_write": notes.state_write,
    "message_data_write": notes.message_data_write,
    "message_metadata": notes.message_metadata,
    "agent_start_run": notes.agent_start_run,
}
"""Other types (``agent_finish_cycle``, ``resource_snapshot``, ones unknown to us) have no rule beyond those of every record."""


class ConversationState(StreamGraph):
    """A stream folded so far: the worker's view of it, and the validator.

    ``ConversationState(rules="2.0")`` begins empty. It holds no text of messages, so its size grows with the number of records only.
    """

    __slots__ = ()

    def apply(self, record: Record) -> bool:
        """Fold one record. False when it is an exact duplicate and was ignored.

        Raises :class:`ConversationRecordInvariantError` naming the broken invariant, and :class:`InvalidInputError` for a value
        without canonical JSON; the state is then what it was before.
        """
        return self.apply_batch((record,)) == 1

    def apply_batch(self, records: Iterable[Record]) -> int:
        """Fold the records of one batch, all or none. Returns how many were new; raises as :meth:`apply`."""
        try:
            folded = sum([self._fold(record) for record in records])
        except BaseException:
            self.journal.roll_back()
            raise
        self.journal.commit()
        return folded

    def _fold(self, record: Record) -> bool:
        if not isinstance(record, dict):
            raise violation({}, 1, "a record must be an object")
        record_id, record_type = text(record, "id", 1), text(record, "type", 1)
        if record.get("v") != 1 or isinstance(record["v"], bool):
            raise violation(record, 1, "v must be 1")
        digest = hashlib.blake2b(canonical_json(record).encode(), digest_size=16).digest()
        known = self.record_digests.get(record_id)
        if known == digest:
            return False
        if known is not None:
            raise violation(record, 1, "a record with this id and other content came before")
        self.journal.put(self.record_digests, record_id, digest)
        self._note_owner(record)
        if record_type == "conversation_created":
            births.conversation_created(self, record)
        else:
            self._apply_in_conversation(record, record_type)
        return True

    def _note_owner(self, record: Record) -> None:
        submission_id, attempt_id = optional_text(record, "submissionId", 3), optional_text(record, "attemptId", 3)
        if submission_id is not None and attempt_id is not None:
            self.journal.put(self.trace(submission_id).attempt_ids, attempt_id, None)

    def _apply_in_conversation(self, record: Record, record_type: str) -> None:
        conversation_id = text(record, "conversationId", 3)
        conversation = self.conversations.get(conversation_id)
        if conversation is None:
            raise violation(record, 3, f"conversation {conversation_id} was not created")
        if record.get("harness") != conversation.harness or record.get("session") != conversation.session:
            raise violation(record, 3, f"harness and session must be {conversation.harness} and {conversation.session}")
        rule = _RULES.get(record_type)
        if rule is not None:
            rule(self, record, conversation)


def fold(records: Iterable[Any], *, rules: Rules = "2.0") -> ConversationState:
    """Fold a whole stream. Raises :class:`ConversationRecordInvariantError` for the first record that breaks an invariant."""
    state = ConversationState(rules=rules)
    for record in records:
        state.apply(record)
    return state
