"""Entries: ``user_message``, ``signal`` and ``compaction``, and the rules that all entries share (spec/streams.md §7.4, §7.5, §7.9)."""

from __future__ import annotations

from typing import Any

from flue_sqla.conversation.graph import Conversation, Entry, StreamGraph
from flue_sqla.conversation.records import Record, text, violation


def user_message(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Add the message of a user."""
    if not isinstance(record.get("content"), list):
        raise violation(record, 4, "content must be an array")
    entry_id = require_free_leaf(graph, record, conversation, "messageId")
    add_entry(graph, conversation, Entry(entry_id, "user_message", conversation.leaf, len(conversation.path), **origin(record)))


def signal(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Add a signal."""
    entry_id = require_free_leaf(graph, record, conversation, "messageId")
    add_entry(graph, conversation, Entry(entry_id, "signal", conversation.leaf, len(conversation.path), **origin(record)))


def compaction(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Add the summary that replaces what precedes ``firstKeptEntryId``."""
    entry_id = require_free_leaf(graph, record, conversation, "entryId")
    if record.get("sourceLeafId") != conversation.leaf:
        raise violation(record, 9, f"sourceLeafId must be the leaf {conversation.leaf}")
    if text(record, "firstKeptEntryId", 9) not in conversation.entries:  # one line: every entry is on the path to the leaf
        raise violation(record, 9, "firstKeptEntryId is not on the path to the leaf")
    add_entry(graph, conversation, Entry(entry_id, "compaction", conversation.leaf, len(conversation.path), **origin(record)))


def require_free_leaf(graph: StreamGraph, record: Record, conversation: Conversation, id_field: str) -> str:
    """The id of the entry that ``record`` would add, once it is clear that an entry may follow the leaf."""
    entry_id = require_new_entry_id(record, conversation, text(record, id_field, 4))
    require_no_draft(record, conversation)
    batch = conversation.open_batch(graph.rules)
    if batch is not None:
        raise violation(record, 5, f"the tool results of {batch.id} are not committed")
    require_parent(record, conversation)
    return entry_id


def require_new_entry_id(record: Record, conversation: Conversation, entry_id: str) -> str:
    """``entry_id`` itself when it is well-formed and not taken."""
    if not entry_id.startswith("entry_"):
        raise violation(record, 4, f"entry id {entry_id} does not begin with entry_")
    if entry_id in conversation.entries:
        raise violation(record, 4, f"entry id {entry_id} was used before")
    return entry_id


def require_no_draft(record: Record, conversation: Conversation) -> None:
    """No entry may be added in the middle of an assistant message."""
    if conversation.draft is not None:
        raise violation(record, 5, f"assistant message {conversation.draft.message_id} is in progress")


def require_parent(record: Record, conversation: Conversation) -> None:
    """The parent must be the leaf; null only for the first entry."""
    if "parentId" not in record or record["parentId"] != conversation.leaf:
        raise violation(record, 4, f"parentId must be the leaf {conversation.leaf}, not {record.get('parentId')}")


def origin(record: Record) -> dict[str, Any]:
    """Where an entry comes from, as keyword arguments of :class:`Entry`."""
    return {"record_id": record["id"], "submission_id": record.get("submissionId"), "attempt_id": record.get("attemptId")}


def add_entry(graph: StreamGraph, conversation: Conversation, entry: Entry) -> None:
    """Make ``entry`` the new leaf."""
    graph.journal.put(conversation.entries, entry.id, entry)
    graph.journal.append(conversation.path, entry)
    graph.journal.set(conversation, "leaf", entry.id)
    if entry.submission_id is not None:
        trace = graph.trace(entry.submission_id)
        if trace.conversation_id is None:
            graph.journal.set(trace, "conversation_id", conversation.id)
