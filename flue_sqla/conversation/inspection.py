"""What the stream says of a submission, which alone decides how recovery goes on (spec/lifecycle.md §6)."""

from __future__ import annotations

from typing import Literal, TypeAlias

from flue_sqla.conversation.graph import AssistantEntry, Conversation, Entry, StreamGraph
from flue_sqla.wire import input_entry_id

Inspection: TypeAlias = Literal["absent", "interrupted", "completed"]


def inspect_submission(state: StreamGraph, kind: str, submission_id: str) -> Inspection:
    """How far the submission came.

    ``absent``: its input is not in the default conversation. ``completed``: the model's response to it is final. ``interrupted``:
    everything between. ``kind`` is the submission's, ``dispatch`` or ``direct``; the rules are those the state was folded by.
    """
    root = state.root
    given = root.entries.get(input_entry_id(kind, submission_id)) if root is not None else None
    if root is None or given is None:
        return "absent"
    after = root.path[given.position + 1 :]
    response = next((entry for entry in reversed(after) if isinstance(entry, AssistantEntry)), None)
    if response is None or any(_is_foreign_input(state, submission_id, entry) for entry in after):
        return "interrupted"
    return "completed" if _is_final(state, root, response) else "interrupted"


def _is_foreign_input(state: StreamGraph, submission_id: str, entry: Entry) -> bool:
    """Whether the entry asks for something that the response to ``submission_id`` does not include.

    A delivery that joined the response was written under the same attempt, so it does not count.
    """
    is_input = entry.kind == "user_message" or (entry.kind == "signal" and entry.id.startswith(("entry_dispatch_", "entry_direct_")))
    if not is_input or entry.submission_id == submission_id:
        return False
    trace = state.submissions.get(submission_id)
    return trace is None or entry.submission_id is None or entry.attempt_id not in trace.attempt_ids


def _is_final(state: StreamGraph, conversation: Conversation, response: AssistantEntry) -> bool:
    if response.opens_tool_batch(state.rules):
        # Every call asked to end the run, and nothing came after their results.
        ends = response.committed and all(response.outcomes[call.id].terminate for call in response.tool_calls)
        return ends and response.position + len(response.tool_calls) == len(conversation.path) - 1
    return response.stop_reason in ("stop", "length")
