"""Records that add no entry: settlements, writes of state and message data, markers (spec/streams.md §7.11, §7.12)."""

from __future__ import annotations

from flue_sqla.conversation.graph import Conversation, StreamGraph
from flue_sqla.conversation.records import Record, text, violation


def submission_settled(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Remember the outcome; what the submission left in progress is dropped (settle barrier)."""
    submission_id = text(record, "submissionId", 11)
    trace = graph.trace(submission_id)
    if trace.settled is None:
        graph.journal.set(trace, "settled", dict(record))
    for other in graph.conversations.values():
        if other.draft is not None and other.draft.submission_id == submission_id:
            graph.journal.set(other, "draft", None)


def state_write(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Keep the last value of a name."""
    name = record.get("name")
    if isinstance(name, str):
        graph.journal.put(conversation.values, name, record.get("value"))


def message_data_write(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Data for a message that exists."""
    trace = graph.submissions.get(text(record, "submissionId", 12))
    if trace is None or conversation.id not in trace.answered_in:
        raise violation(record, 12, "the submission has no completed assistant message yet")


def message_metadata(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Metadata of a submission's message."""
    text(record, "submissionId", 12)


def agent_start_run(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Remember that the start hooks of the submission ran."""
    submission_id = record.get("submissionId")
    if isinstance(submission_id, str):
        graph.journal.set(graph.trace(submission_id), "run_started", True)
