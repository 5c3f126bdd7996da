"""Records by which a new attempt ends what a dead one left open, so that the conversation can go on (spec/lifecycle.md §7)."""

from __future__ import annotations

from typing import Any

from flue_sqla.conversation.builders import assistant_completed, tool_outcome, tool_results_committed
from flue_sqla.conversation.envelope import Envelope
from flue_sqla.conversation.graph import Conversation, Rules
from flue_sqla.wire import (
    recovery_aborted_record_id,
    recovery_block_record_id,
    tool_repair_commit_record_id,
    tool_repair_outcome_record_id,
)

_UNKNOWN_OUTCOME = "The run was interrupted before the outcome of this call was recorded. Whether it took effect is unknown."


def close_draft(conversation: Conversation, envelope: Envelope, at: int) -> list[dict[str, Any]]:
    """Make the assistant message in progress an ``aborted`` entry; no records when there is none. Ids are deterministic."""
    draft = conversation.draft
    if draft is None:
        return []
    records = [
        envelope.record(
            f"assistant_{block.kind}_completed",
            at,
            {"messageId": draft.message_id, "blockId": block_id, "deltaCount": block.deltas},
            record_id=recovery_block_record_id(draft.message_id, block_id),
        )
        for block_id, block in draft.blocks.items()
        if not block.completed
    ]
    aborted_id = recovery_aborted_record_id(draft.message_id)
    return [*records, assistant_completed(envelope, at, message_id=draft.message_id, stop_reason="aborted", record_id=aborted_id)]


def close_batch(conversation: Conversation, envelope: Envelope, at: int, *, rules: Rules = "2.0") -> list[dict[str, Any]]:
    """Commit the open tool batch at the leaf: recorded outcomes stay, the others become errors of unknown outcome.

    No records when no batch is open. A tool is never run again here.
    """
    batch = conversation.open_batch(rules)
    if batch is None:
        return []
    records, outcome_ids = [], []
    for call in batch.tool_calls:
        if call.id in batch.outcomes:
            outcome_ids.append(batch.outcomes[call.id].record_id)
            continue
        outcome = tool_outcome(
            envelope,
            at,
            assistant_message_id=batch.id,
            tool_call_id=call.id,
            tool_name=call.name,
            text=_UNKNOWN_OUTCOME,
            is_error=True,
            record_id=tool_repair_outcome_record_id(batch.id, call.id),
        )
        records.append(outcome)
        outcome_ids.append(outcome["id"])
    commit_id = tool_repair_commit_record_id(batch.id)
    return [
        *records,
        tool_results_committed(envelope, at, assistant_message_id=batch.id, outcome_ids=outcome_ids, record_id=commit_id),
    ]
