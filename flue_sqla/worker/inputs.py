"""Putting a submission's message into the conversation (spec/lifecycle.md §7 step 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flue_sqla.conversation import ConversationState, Envelope, builders, repairs, submission_attachments
from flue_sqla.records.submission import Submission
from flue_sqla.wire import input_entry_id, input_record_id
from flue_sqla.worker.writer import root_of

__all__ = ["is_applied", "joined_records", "opening_records"]

Record = dict[str, Any]


def is_applied(state: ConversationState, submission: Submission) -> bool:
    """Whether the input is in the stream; this, not the row's mark, decides."""
    return input_record_id(submission.kind, submission.submission_id) in state.record_digests


def opening_records(state: ConversationState, submission: Submission, attempt_id: str, at: int) -> list[Record]:
    """What a new attempt appends before its handler runs; empty when an earlier attempt got so far.

    Folds what it makes into ``state``: closes what a dead attempt left in progress, then the input with its start marker.
    """
    root = root_of(state)
    envelope = Envelope.of(root, submission.submission_id, attempt_id)
    records: list[Record] = []
    for repair in (repairs.close_draft(root, envelope, at), repairs.close_batch(root, envelope, at, rules=state.rules)):
        state.apply_batch(repair)
        records += repair
    opening = _input_records(state, submission, envelope, at, parent_id=root.leaf)
    state.apply_batch(opening)
    return records + opening


def joined_records(state: ConversationState, deliveries: Sequence[Submission], attempt_id: str, at: int) -> list[Record]:
    """What the host's attempt appends for deliveries that join it, each following the one before."""
    root = root_of(state)
    leaf = root.leaf
    records: list[Record] = []
    for delivery in deliveries:
        envelope = Envelope.of(root, delivery.submission_id, attempt_id)
        records += _input_records(state, delivery, envelope, at, parent_id=leaf)
        if not is_applied(state, delivery):
            leaf = input_entry_id(delivery.kind, delivery.submission_id)
    return records


def _input_records(state: ConversationState, submission: Submission, envelope: Envelope, at: int, *, parent_id: str | None) -> list[Record]:
    """The input, which follows the entry ``parent_id``, and the mark that its start hooks ran, as far as they are missing."""
    records: list[Record] = []
    if not is_applied(state, submission):
        refs = [ref for ref, _ in submission_attachments(submission.input)]
        records.append(builders.input_record(envelope, at, submission.input, parent_id=parent_id, attachments=refs))
    trace = state.submissions.get(submission.submission_id)
    if trace is None or not trace.run_started:
        records.append(builders.agent_start_run(envelope, at))
    return records
