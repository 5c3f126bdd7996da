"""A small stream to break: one instance, one submission, a tool batch and an answer."""

from __future__ import annotations

from typing import Any

from flue_sqla import wire
from flue_sqla.conversation import ConversationState, Envelope, builders

AT = 1_780_444_800_000
MODEL = {"api": "test", "provider": "test", "model": "test-1"}
CONVERSATION = "conv_1"
SUBMISSION, ATTEMPT = "sub_1", "attempt_1"
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ASSISTANT = "entry_a1"

system = Envelope(CONVERSATION)
mine = Envelope(CONVERSATION, submission_id=SUBMISSION, attempt_id=ATTEMPT)

PAYLOAD: dict[str, Any] = {
    "kind": "direct",
    "submissionId": SUBMISSION,
    "agent": "assistant",
    "id": "agent-1",
    "message": {"kind": "user", "body": "Hello"},
    "acceptedAt": "2026-06-03T00:00:00.000Z",
}
INPUT_ENTRY = wire.input_entry_id("direct", SUBMISSION)


def birth(**ids: Any) -> dict[str, Any]:
    return builders.birth_record(AT, PAYLOAD, **{"conversation_id": CONVERSATION, "affinity_key": "aff_1", "uid": "inst_1", **ids})


def given(payload: dict[str, Any] = PAYLOAD, *, parent_id: str | None = None, envelope: Envelope = mine) -> dict[str, Any]:
    return builders.input_record(envelope, AT, payload, parent_id=parent_id)


def payload_of(submission_id: str, *, message: dict[str, Any] | None = None, kind: str = "direct") -> dict[str, Any]:
    return {**PAYLOAD, "submissionId": submission_id, "kind": kind, "message": message or PAYLOAD["message"]}


def begun() -> list[dict[str, Any]]:
    """Birth and input."""
    return [birth(), given()]


def started(message_id: str = ASSISTANT, parent_id: str | None = INPUT_ENTRY, **fields: Any) -> dict[str, Any]:
    return {**builders.assistant_started(mine, AT, message_id=message_id, parent_id=parent_id, model_info=MODEL), **fields}


def call(call_id: str, index: int, message_id: str = ASSISTANT, **fields: Any) -> dict[str, Any]:
    record = builders.assistant_tool_call(
        mine, AT, message_id=message_id, block_index=index, tool_call_id=call_id, name="look", arguments={}, block_id=f"block_{call_id}"
    )
    return {**record, **fields}


def completed(stop_reason: Any = "toolUse", message_id: str = ASSISTANT, **fields: Any) -> dict[str, Any]:
    return {**builders.assistant_completed(mine, AT, message_id=message_id, stop_reason=stop_reason), **fields}


def outcome(call_id: str, message_id: str = ASSISTANT, **options: Any) -> dict[str, Any]:
    return builders.tool_outcome(mine, AT, assistant_message_id=message_id, tool_call_id=call_id, tool_name="look", text="seen", **options)


def commit(*call_ids: str, message_id: str = ASSISTANT) -> dict[str, Any]:
    ids = [wire.tool_outcome_record_id(message_id, call_id) for call_id in call_ids]
    return builders.tool_results_committed(mine, AT, assistant_message_id=message_id, outcome_ids=ids)


def calling(stop_reason: Any = "toolUse") -> list[dict[str, Any]]:
    """Birth, input, and an assistant message with the calls c1 and c2."""
    return [*begun(), started(), call("c1", 0), call("c2", 1), completed(stop_reason)]


def result_entry(call_id: str) -> str:
    return wire.tool_result_entry_id(ASSISTANT, call_id)


def called() -> list[dict[str, Any]]:
    """``calling`` with its results committed."""
    return [*calling(), outcome("c1"), outcome("c2"), commit("c1", "c2")]


def answer(parent_id: str, *, message_id: str = "entry_a2", text: str = "Done.") -> list[dict[str, Any]]:
    return builders.assistant_message(mine, AT, parent_id=parent_id, text=text, model_info=MODEL, message_id=message_id)


def answered() -> list[dict[str, Any]]:
    """``called`` with a final answer."""
    return [*called(), *answer(result_entry("c2"))]


def settled(**options: Any) -> dict[str, Any]:
    return builders.submission_settled(mine, AT, "direct", "completed", **options)


def note(message_id: str = "entry_note", parent_id: str | None = INPUT_ENTRY, **fields: Any) -> dict[str, Any]:
    """A signal without owner."""
    record = builders.signal(system, AT, parent_id=parent_id, signal_type="test.note", content="note", entry_id=message_id)
    return {**record, **fields}


def task(task_id: str = f"task_{ULID}", **fields: Any) -> dict[str, Any]:
    """The birth of a child task."""
    return {
        "kind": "task",
        "conversationId": "conv_task",
        "harness": "default",
        "session": f"task:default:{task_id}",
        "affinityKey": "aff_2",
        "createdAt": wire.format_timestamp(AT),
        "parentConversationId": CONVERSATION,
        "taskId": task_id,
        "v": 1,
        "id": "record_conversation_created_conv_task",
        "type": "conversation_created",
        "timestamp": wire.format_timestamp(AT),
        **fields,
    }


def action(invocation_id: str = f"inv_{ULID}", **fields: Any) -> dict[str, Any]:
    """The birth of a child action."""
    record = task(**{"kind": "action", "conversationId": "conv_action", "id": "record_conversation_created_conv_action"})
    del record["taskId"]
    return {**record, "harness": f"default:action:{invocation_id}", "session": "default", "actionInvocationId": invocation_id, **fields}


def retained(record_id: str | None = None, **child: Any) -> dict[str, Any]:
    """The root keeps the child task."""
    identity = {
        "type": "task",
        "conversationId": "conv_task",
        "harness": "default",
        "session": f"task:default:task_{ULID}",
        "taskId": f"task_{ULID}",
        **child,
    }
    record_id = record_id or wire.child_retained_record_id(CONVERSATION, "conv_task")
    return system.record("child_session_retained", AT, {"child": identity}, record_id=record_id)


def folded(records: list[dict[str, Any]], rules: Any = "2.0") -> ConversationState:
    state = ConversationState(rules=rules)
    for record in records:
        state.apply(record)
    return state
