"""Outcomes of tool calls, their commit, and durable steps (spec/streams.md §7.7, §7.8, §7.13)."""

from __future__ import annotations

from flue_sqla.conversation.entries import add_entry, require_new_entry_id, require_no_draft
from flue_sqla.conversation.graph import AssistantEntry, Conversation, Entry, StreamGraph, ToolOutcome
from flue_sqla.conversation.records import Record, text, violation
from flue_sqla.wire import tool_result_entry_id


def tool_outcome(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Record what a call came to."""
    message_id, call_id, name = text(record, "assistantMessageId", 7), text(record, "toolCallId", 7), text(record, "toolName", 7)
    assistant = conversation.entries.get(message_id)
    if not isinstance(assistant, AssistantEntry):
        raise violation(record, 7, f"assistant entry {message_id} does not exist")
    if not any(call.id == call_id and call.name == name for call in assistant.tool_calls):
        raise violation(record, 7, f"{message_id} has no call {call_id} of tool {name}")
    if call_id in assistant.outcomes:
        raise violation(record, 7, f"call {call_id} of {message_id} has an outcome already")
    if "terminate" in record and record["terminate"] is not True:
        raise violation(record, 7, "terminate may only be true")
    outcome = ToolOutcome(record["id"], bool(record.get("isError")), "terminate" in record)
    graph.journal.put(assistant.outcomes, call_id, outcome)


def tool_results_committed(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Make every outcome of the batch at the leaf an entry, in call order."""
    message_id = text(record, "assistantMessageId", 8)
    require_no_draft(record, conversation)
    batch = conversation.open_batch(graph.rules)
    if batch is None or batch.id != message_id:
        raise violation(record, 8, f"{message_id} is not a completed message with tool use at the leaf")
    if record.get("parentId") != message_id:
        raise violation(record, 8, "parentId must be the assistantMessageId")
    missing = [call.id for call in batch.tool_calls if call.id not in batch.outcomes]
    if missing:
        raise violation(record, 8, f"call {missing[0]} has no outcome")
    if record.get("outcomeIds") != [batch.outcomes[call.id].record_id for call in batch.tool_calls]:
        raise violation(record, 8, "outcomeIds must list the outcome of every call once, in call order")
    graph.journal.set(batch, "committed", True)
    for call in batch.tool_calls:
        entry_id = require_new_entry_id(record, conversation, tool_result_entry_id(batch.id, call.id))
        entry = Entry(
            entry_id,
            "tool_result",
            conversation.leaf,
            len(conversation.path),
            batch.outcomes[call.id].record_id,
            record.get("submissionId"),
            record.get("attemptId"),
        )
        add_entry(graph, conversation, entry)


def tool_step_settled(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Remember the value of a durable step. The first one stays: a replay must never see another."""
    step = text(record, "toolCallId", 13), text(record, "stepName", 13)
    if step not in graph.steps:
        graph.journal.put(graph.steps, step, record.get("value"))
