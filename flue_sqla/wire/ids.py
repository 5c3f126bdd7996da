"""Ids that follow from what they name (spec/submissions.md §3.4, spec/streams.md §6.3).

Two attempts of one submission compute the same record id, so that the second finds the record of the first instead of repeating it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Literal

from flue_sqla.errors import InvalidInputError
from flue_sqla.wire.canonical import utf16_length


def keyed_submission_id(agent: str, instance_id: str, idempotency_key: str) -> str:
    """The submission id that an idempotency key stands for (spec/submissions.md §3.4).

    Raises :class:`InvalidInputError` when the key is no text of 1 to 256 UTF-16 units, or a part has no UTF-8 form.
    """
    if not isinstance(idempotency_key, str) or not 1 <= utf16_length(idempotency_key) <= 256:
        raise InvalidInputError("An idempotency key has 1 to 256 characters.", meta={"field": "idempotency_key"})
    preimage = "\n".join(("flue-submission-key", agent, instance_id, idempotency_key))
    return f"sub_ik_{hashlib.sha256(_utf8(preimage)).hexdigest()[:32]}"


def b64(text: str) -> str:
    """base64url without padding of the UTF-8 bytes (spec/streams.md §6.3)."""
    return base64.urlsafe_b64encode(_utf8(text)).rstrip(b"=").decode("ascii")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("An identifier contains a lone surrogate, which has no UTF-8 form.") from None


def birth_record_id(conversation_id: str) -> str:
    """The ``conversation_created`` record of a conversation."""
    return f"record_conversation_created_{conversation_id}"


def input_record_id(kind: str, submission_id: str) -> str:
    """The record that puts a submission's message into its conversation; ``kind`` is ``dispatch`` or ``direct``."""
    return f"record_{kind}_input_{submission_id}"


def input_entry_id(kind: str, submission_id: str) -> str:
    """The graph entry of that record."""
    return f"entry_{kind}_{b64(submission_id)}"


def settlement_record_id(kind: str, submission_id: str) -> str:
    """The ``submission_settled`` record."""
    return f"record_{kind}-submission:{submission_id}:settled"


def advisory_record_id(outcome: Literal["aborted", "interrupted"], submission_id: str) -> str:
    """The signal that tells the model why a submission ended early."""
    return f"record_submission_{outcome}_{submission_id}"


def advisory_entry_id(outcome: Literal["aborted", "interrupted"], submission_id: str) -> str:
    """The graph entry of that signal."""
    return f"entry_submission_{outcome}_{submission_id}"


def tool_outcome_record_id(assistant_entry_id: str, tool_call_id: str) -> str:
    """The outcome of one tool call."""
    return f"record_tool_outcome_{b64(assistant_entry_id)}_{b64(tool_call_id)}"


def tool_result_entry_id(assistant_entry_id: str, tool_call_id: str) -> str:
    """The graph entry that an outcome becomes when its batch is committed."""
    return f"entry_tool_result_{b64(assistant_entry_id)}_{b64(tool_call_id)}"


def tool_commit_record_id(assistant_entry_id: str) -> str:
    """The ``tool_results_committed`` record of an assistant message."""
    return f"record_tool_results_committed_{b64(assistant_entry_id)}"


def tool_repair_outcome_record_id(assistant_entry_id: str, tool_call_id: str) -> str:
    """The outcome that recovery writes for a call whose own outcome was never recorded."""
    return f"record_tool_repair_outcome_{b64(assistant_entry_id)}_{b64(tool_call_id)}"


def tool_repair_commit_record_id(assistant_entry_id: str) -> str:
    """The commit that recovery writes for an interrupted batch."""
    return f"record_tool_repair_commit_{b64(assistant_entry_id)}"


def tool_step_record_id(tool_call_id: str, step_name: str) -> str:
    """The recorded value of one durable step."""
    return f"record_tool_step_{b64(tool_call_id)}_{b64(step_name)}"


def child_retained_record_id(parent_conversation_id: str, child_conversation_id: str) -> str:
    """The record by which a conversation keeps its child; written in the same batch as the child's birth record."""
    return f"record_child_retained_{parent_conversation_id}_{child_conversation_id}"


def recovery_block_record_id(message_id: str, block_id: str) -> str:
    """The completion of a block that a dead attempt left open."""
    return f"record_recovery_{message_id}_{block_id}_completed"


def recovery_aborted_record_id(message_id: str) -> str:
    """The completion, as ``aborted``, of an assistant message that a dead attempt left in progress."""
    return f"record_recovery_{message_id}_aborted"


def recovery_signal_record_id(message_id: str, signal: Literal["stream_interrupted", "stream_continued"]) -> str:
    """The signal that marks where a response was cut or taken up again."""
    return f"record_recovery_{message_id}_{signal}"


def recovery_signal_entry_id(message_id: str, signal: Literal["stream_interrupted", "stream_continued"]) -> str:
    """The graph entry of that signal."""
    return f"entry_recovery_{message_id}_{signal}"
