"""Records that a Flue reader accepts, with the ids and the key order of spec/streams.md §6.

``at`` is always epoch milliseconds. The functions know the form of each record; whether it may be appended now is the fold's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from flue_sqla.conversation.envelope import Envelope
from flue_sqla.errors import FlueError, InvalidInputError
from flue_sqla.wire import (
    advisory_entry_id,
    advisory_record_id,
    birth_record_id,
    canonical_json,
    format_timestamp,
    input_entry_id,
    input_record_id,
    new_id,
    settlement_record_id,
    tool_commit_record_id,
    tool_outcome_record_id,
    tool_step_record_id,
)

NO_USAGE: Final[Mapping[str, Any]] = {
    "input": 0,
    "output": 0,
    "cacheRead": 0,
    "cacheWrite": 0,
    "totalTokens": 0,
    "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0},
}
"""The usage of a message that no model produced."""

_ADVICE = {
    "aborted": "The submission was aborted before it was finished.",
    "interrupted": "The submission was interrupted and could not be finished.",
}


def birth_record(
    at: int, payload: Mapping[str, Any], *, conversation_id: str | None = None, affinity_key: str | None = None, uid: str | None = None
) -> dict[str, Any]:
    """The birth of an instance's root conversation, with the ``initialData`` of the submission payload if it has any.

    It is appended unowned. Ids that are not given are made.
    """
    conversation_id = conversation_id or new_id("conv")
    created_at = format_timestamp(at)
    record = {
        "kind": "root",
        "conversationId": conversation_id,
        "harness": "default",
        "session": "default",
        "affinityKey": affinity_key or new_id("aff"),
        "createdAt": created_at,
    }
    if "initialData" in payload:
        record["initialData"] = payload["initialData"]
    record["uid"] = uid or new_id("inst")
    return {**record, "v": 1, "id": birth_record_id(conversation_id), "type": "conversation_created", "timestamp": created_at}


# -- inputs and signals -----------------------------------------------------------------------------------------------------------


def input_record(
    envelope: Envelope, at: int, payload: Mapping[str, Any], *, parent_id: str | None, attachments: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The record that puts a submission's message into its conversation.

    ``payload`` is the submission's input (spec/submissions.md §3.2); for a joined delivery the envelope has the delivery's submission
    id and the host's attempt id. ``attachments`` are the references of the user message's attachments, in order; another number of
    them raises :class:`InvalidInputError`.
    """
    kind, submission_id, message = payload["kind"], payload["submissionId"], payload["message"]
    if envelope.submission_id != submission_id:
        raise InvalidInputError("The envelope belongs to another submission.", meta={"submissionId": submission_id})
    entry_id, record_id = input_entry_id(kind, submission_id), input_record_id(kind, submission_id)
    if message["kind"] == "signal":
        return signal(
            envelope,
            at,
            parent_id=parent_id,
            signal_type=message["type"],
            content=message["body"],
            tag_name=message.get("tagName"),
            attributes=message.get("attributes"),
            record_id=record_id,
            entry_id=entry_id,
        )
    if len(attachments) != len(message.get("attachments", ())):
        raise InvalidInputError("Each attachment of the message needs its reference.", meta={"submissionId": submission_id})
    content = [{"type": "text", "text": message["body"]}, *({"type": "attachment", "attachment": dict(ref)} for ref in attachments)]
    fields = {"messageId": entry_id, "parentId": parent_id, "content": content}
    return envelope.record("user_message", at, fields, record_id=record_id)


def signal(
    envelope: Envelope,
    at: int,
    *,
    parent_id: str | None,
    signal_type: str,
    content: str,
    tag_name: str | None = None,
    attributes: Mapping[str, str] | None = None,
    record_id: str | None = None,
    entry_id: str | None = None,
) -> dict[str, Any]:
    """A signal at the leaf ``parent_id``."""
    fields: dict[str, Any] = {"messageId": entry_id or new_id("entry"), "parentId": parent_id, "signalType": signal_type}
    if tag_name is not None:
        fields["tagName"] = tag_name
    fields["content"] = content
    if attributes is not None:
        fields["attributes"] = dict(attributes)
    return envelope.record("signal", at, fields, record_id=record_id)


def advisory_signal(
    envelope: Envelope, at: int, outcome: Literal["aborted", "interrupted"], *, parent_id: str | None, content: str | None = None
) -> dict[str, Any]:
    """What tells the model, in a later submission, that this one ended early."""
    submission_id = _submission(envelope)
    return signal(
        envelope,
        at,
        parent_id=parent_id,
        signal_type=f"submission_{outcome}",
        content=content or _ADVICE[outcome],
        record_id=advisory_record_id(outcome, submission_id),
        entry_id=advisory_entry_id(outcome, submission_id),
    )


# -- assistant messages -----------------------------------------------------------------------------------------------------------


def assistant_started(
    envelope: Envelope, at: int, *, message_id: str, parent_id: str | None, model_info: Mapping[str, Any]
) -> dict[str, Any]:
    """The begin of an assistant message; ``model_info`` has ``api``, ``provider``, ``model``."""
    return envelope.record("assistant_message_started", at, {"messageId": message_id, "parentId": parent_id, "modelInfo": dict(model_info)})


def assistant_text(
    envelope: Envelope, at: int, *, message_id: str, text: str, block_index: int, block_id: str | None = None
) -> list[dict[str, Any]]:
    """A whole text block: started, one delta (none for an empty text), completed."""
    block = {"messageId": message_id, "blockId": block_id or new_id("block")}
    records = [envelope.record("assistant_text_started", at, {**block, "blockIndex": block_index})]
    if text:
        records.append(envelope.record("assistant_text_delta", at, {**block, "sequence": 0, "delta": text}))
    records.append(envelope.record("assistant_text_completed", at, {**block, "deltaCount": len(records) - 1}))
    return records


def assistant_tool_call(
    envelope: Envelope,
    at: int,
    *,
    message_id: str,
    block_index: int,
    tool_call_id: str,
    name: str,
    arguments: Mapping[str, Any],
    block_id: str | None = None,
) -> dict[str, Any]:
    """A tool call block."""
    fields = {"messageId": message_id, "blockId": block_id or new_id("block"), "blockIndex": block_index}
    return envelope.record("assistant_tool_call", at, {**fields, "toolCallId": tool_call_id, "name": name, "arguments": dict(arguments)})


def assistant_completed(
    envelope: Envelope,
    at: int,
    *,
    message_id: str,
    stop_reason: Literal["stop", "length", "toolUse", "error", "aborted"],
    usage: Mapping[str, Any] = NO_USAGE,
    error: str | None = None,
    record_id: str | None = None,
) -> dict[str, Any]:
    """The end of an assistant message: it becomes an entry."""
    fields: dict[str, Any] = {"messageId": message_id, "stopReason": stop_reason, "usage": dict(usage)}
    if error is not None:
        fields["error"] = error
    return envelope.record("assistant_message_completed", at, fields, record_id=record_id)


def assistant_message(
    envelope: Envelope, at: int, *, parent_id: str | None, text: str, model_info: Mapping[str, Any], message_id: str | None = None
) -> list[dict[str, Any]]:
    """A whole final answer of one text block, to append as one batch."""
    message_id = message_id or new_id("entry")
    return [
        assistant_started(envelope, at, message_id=message_id, parent_id=parent_id, model_info=model_info),
        *assistant_text(envelope, at, message_id=message_id, text=text, block_index=0),
        assistant_completed(envelope, at, message_id=message_id, stop_reason="stop"),
    ]


# -- tools ------------------------------------------------------------------------------------------------------------------------


def tool_outcome(
    envelope: Envelope,
    at: int,
    *,
    assistant_message_id: str,
    tool_call_id: str,
    tool_name: str,
    text: str,
    is_error: bool = False,
    terminate: bool = False,
    duration_ms: int | None = None,
    record_id: str | None = None,
) -> dict[str, Any]:
    """What a call came to, as one text block; ``terminate`` asks the run to end after this batch."""
    fields: dict[str, Any] = {
        "assistantMessageId": assistant_message_id,
        "toolCallId": tool_call_id,
        "toolName": tool_name,
        "isError": is_error,
        "content": [{"type": "text", "text": text}],
    }
    if terminate:
        fields["terminate"] = True
    if duration_ms is not None:
        fields["durationMs"] = duration_ms
    return envelope.record("tool_outcome", at, fields, record_id=record_id or tool_outcome_record_id(assistant_message_id, tool_call_id))


def tool_results_committed(
    envelope: Envelope, at: int, *, assistant_message_id: str, outcome_ids: Sequence[str], record_id: str | None = None
) -> dict[str, Any]:
    """The end of a tool batch; ``outcome_ids`` are the outcomes' record ids in call order."""
    fields = {"assistantMessageId": assistant_message_id, "parentId": assistant_message_id, "outcomeIds": list(outcome_ids)}
    return envelope.record("tool_results_committed", at, fields, record_id=record_id or tool_commit_record_id(assistant_message_id))


def tool_step_settled(envelope: Envelope, at: int, *, tool_call_id: str, tool_name: str, step_name: str, value: Any) -> dict[str, Any]:
    """The value of a durable step: replayed, never computed again."""
    fields = {"toolCallId": tool_call_id, "toolName": tool_name, "stepName": step_name, "value": value}
    return envelope.record("tool_step_settled", at, fields, record_id=tool_step_record_id(tool_call_id, step_name))


# -- markers, state and settlement ------------------------------------------------------------------------------------------------


def agent_start_run(envelope: Envelope, at: int) -> dict[str, Any]:
    """The mark that the start hooks of a delivery ran."""
    return envelope.record("agent_start_run", at)


def agent_finish_cycle(envelope: Envelope, at: int) -> dict[str, Any]:
    """The mark that the finish hooks ran."""
    return envelope.record("agent_finish_cycle", at)


def state_write(envelope: Envelope, at: int, *, name: str, value: Any) -> dict[str, Any]:
    """A value that the conversation keeps under a name."""
    return envelope.record("state_write", at, {"name": name, "value": value})


def submission_settled(
    envelope: Envelope,
    at: int,
    kind: str,
    outcome: Literal["completed", "failed", "aborted"],
    *,
    error: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The one record that says how a submission ended. ``error`` (:func:`settlement_error`) is left out when it completed."""
    record_id = settlement_record_id(kind, _submission(envelope))
    fields: dict[str, Any] = {"outcome": outcome}
    if error is not None and outcome != "completed":
        fields["error"] = dict(error)
    return envelope.record("submission_settled", at, fields, record_id=record_id)


def settlement_error(error: BaseException) -> dict[str, Any]:
    """What clients may see of an error: this library's own as it is; of any other only that it was one (spec/streams.md §6.3)."""
    if not isinstance(error, FlueError):
        return {
            "name": "Error",
            "message": "The agent submission failed because of an internal error.",
            "type": "internal_error",
            "details": "The server's log has the cause. Quote the submissionId when you report this error.",
        }
    public = {"name": type(error).__name__, "message": error.message, "type": error.code, "details": error.remedy}
    try:
        canonical_json(error.meta)
    except InvalidInputError:
        return public
    return {**public, "meta": error.meta} if error.meta else public


def _submission(envelope: Envelope) -> str:
    if envelope.submission_id is None:
        raise InvalidInputError("The record needs an envelope with a submission id.")
    return envelope.submission_id
