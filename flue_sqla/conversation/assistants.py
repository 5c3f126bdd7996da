"""Assistant messages and their blocks, from started to completed (spec/streams.md §7.5, §7.6)."""

from __future__ import annotations

from typing import Literal

from flue_sqla.conversation.entries import add_entry, origin, require_free_leaf
from flue_sqla.conversation.graph import AssistantDraft, AssistantEntry, Block, Conversation, StreamGraph, ToolCall
from flue_sqla.conversation.records import Record, count, text, violation

_STOP_REASONS = ("stop", "length", "toolUse", "error", "aborted")


def started(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Begin a message at the leaf."""
    message_id = require_free_leaf(graph, record, conversation, "messageId")
    submission_id = record.get("submissionId")
    if "responseMetadata" in record and submission_id is None:
        raise violation(record, 12, "responseMetadata needs a submissionId")
    draft = AssistantDraft(message_id, conversation.leaf, submission_id, record.get("attemptId"))
    graph.journal.set(conversation, "draft", draft)


def completed(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Turn the message in progress into an entry."""
    draft = _draft(record, conversation)
    stop_reason = record.get("stopReason")
    if stop_reason not in _STOP_REASONS:
        raise violation(record, 6, f"stopReason must be one of {', '.join(_STOP_REASONS)}")
    for block_id, block in draft.blocks.items():
        if not block.completed:
            raise violation(record, 6, f"block {block_id} is not completed")
    calls = tuple(sorted(draft.tool_calls, key=lambda call: call.block_index))
    entry = AssistantEntry(
        draft.message_id, "assistant", draft.parent_id, len(conversation.path), **origin(record), stop_reason=stop_reason, tool_calls=calls
    )
    graph.journal.set(conversation, "draft", None)
    add_entry(graph, conversation, entry)
    if entry.submission_id is not None:
        graph.journal.put(graph.trace(entry.submission_id).answered_in, conversation.id, None)


def text_started(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Begin a text block."""
    _add_block(graph, record, conversation, "text")


def reasoning_started(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Begin a reasoning block."""
    _add_block(graph, record, conversation, "reasoning")


def text_delta(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Add a piece to a text block."""
    _add_delta(graph, record, conversation, "text")


def reasoning_delta(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Add a piece to a reasoning block."""
    _add_delta(graph, record, conversation, "reasoning")


def text_completed(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """End a text block."""
    _complete_block(graph, record, conversation, "text")


def reasoning_completed(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """End a reasoning block."""
    _complete_block(graph, record, conversation, "reasoning")


def tool_call(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Add a call; it is a block that is complete at once."""
    call_id, name = text(record, "toolCallId", 6), text(record, "name", 6)
    draft, block = _add_block(graph, record, conversation, "tool_call")
    block.completed = True
    graph.journal.append(draft.tool_calls, ToolCall(call_id, name, block.index))


def _draft(record: Record, conversation: Conversation) -> AssistantDraft:
    message_id = text(record, "messageId", 6)
    draft = conversation.draft
    if draft is None or draft.message_id != message_id:
        raise violation(record, 6, f"assistant message {message_id} is not in progress")
    return draft


def _add_block(
    graph: StreamGraph, record: Record, conversation: Conversation, kind: Literal["text", "reasoning", "tool_call"]
) -> tuple[AssistantDraft, Block]:
    draft = _draft(record, conversation)
    block_id, index = text(record, "blockId", 6), count(record, "blockIndex", 6)
    if block_id in draft.blocks:
        raise violation(record, 6, f"block {block_id} was begun before")
    if any(block.index == index for block in draft.blocks.values()):
        raise violation(record, 6, f"blockIndex {index} was used before")
    block = Block(kind, index)
    graph.journal.put(draft.blocks, block_id, block)
    return draft, block


def _open_block(record: Record, conversation: Conversation, kind: Literal["text", "reasoning"]) -> Block:
    draft = _draft(record, conversation)
    block_id = text(record, "blockId", 6)
    block = draft.blocks.get(block_id)
    if block is None or block.kind != kind:
        raise violation(record, 6, f"message {draft.message_id} has no {kind} block {block_id}")
    if block.completed:
        raise violation(record, 6, f"block {block_id} is completed")
    return block


def _add_delta(graph: StreamGraph, record: Record, conversation: Conversation, kind: Literal["text", "reasoning"]) -> None:
    block = _open_block(record, conversation, kind)
    sequence = count(record, "sequence", 6)
    if sequence != block.deltas:
        raise violation(record, 6, f"delta {sequence} came where {block.deltas} was due")
    graph.journal.set(block, "deltas", block.deltas + 1)


def _complete_block(graph: StreamGraph, record: Record, conversation: Conversation, kind: Literal["text", "reasoning"]) -> None:
    block = _open_block(record, conversation, kind)
    deltas = count(record, "deltaCount", 6)
    if deltas != block.deltas:
        raise violation(record, 6, f"deltaCount is {deltas}, but there were {block.deltas} deltas")
    graph.journal.set(block, "completed", True)
