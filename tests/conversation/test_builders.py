"""Records as a Flue session writes them: ids, key order, text (spec/streams.md §6)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from flue_sqla import wire
from flue_sqla.conversation import Envelope, builders, fold, submission_attachments
from flue_sqla.errors import InvalidInputError, SessionBusyError
from tests.conversation.stream import AT, CONVERSATION, INPUT_ENTRY, MODEL, PAYLOAD, begun, birth, given, mine, payload_of, system

NOW = "2026-06-03T00:00:00.000Z"
HEAD = f'"conversationId":"conv_1","harness":"default","session":"default","timestamp":"{NOW}"'
OWNER = '"submissionId":"sub_1","attemptId":"attempt_1"'


def test_the_birth_record() -> None:
    assert wire.canonical_json(birth()) == (
        '{"kind":"root","conversationId":"conv_1","harness":"default","session":"default","affinityKey":"aff_1",'
        f'"createdAt":"{NOW}","uid":"inst_1","v":1,"id":"record_conversation_created_conv_1","type":"conversation_created","timestamp":"{NOW}"}}'
    )


def test_the_birth_record_takes_initial_data_even_when_it_is_null() -> None:
    record = builders.birth_record(AT, {**PAYLOAD, "initialData": None})
    assert list(record) == [
        *("kind", "conversationId", "harness", "session", "affinityKey", "createdAt", "initialData", "uid", "v", "id", "type", "timestamp")
    ]
    assert record["initialData"] is None
    assert [record[key].split("_")[0] for key in ("conversationId", "affinityKey", "uid")] == ["conv", "aff", "inst"]


def test_a_user_message() -> None:
    assert wire.canonical_json(given()) == (
        f'{{"v":1,"id":"record_direct_input_sub_1","type":"user_message",{HEAD},{OWNER},'
        '"messageId":"entry_direct_c3ViXzE","parentId":null,"content":[{"type":"text","text":"Hello"}]}'
    )


def test_a_user_message_with_attachments_refers_to_them() -> None:
    data = base64.b64encode(b"picture").decode()
    images = [
        {"type": "image", "data": data, "mimeType": "image/png", "filename": "a.png"},
        {"type": "image", "data": "", "mimeType": "image/gif"},
    ]
    payload = payload_of("sub_1", message={"kind": "user", "body": "see", "attachments": images})
    (first, first_bytes), (second, second_bytes) = submission_attachments(payload)
    assert (first_bytes, second_bytes) == (b"picture", b"")
    assert first == {
        "id": "att_direct_sub_1_0",
        "mimeType": "image/png",
        "size": 7,
        "digest": hashlib.sha256(b"picture").hexdigest(),
        "filename": "a.png",
    }
    assert list(second) == ["id", "mimeType", "size", "digest"]
    record = builders.input_record(mine, AT, payload, parent_id=None, attachments=[first, second])
    assert record["content"][1:] == [{"type": "attachment", "attachment": first}, {"type": "attachment", "attachment": second}]
    with pytest.raises(InvalidInputError, match="its reference"):
        builders.input_record(mine, AT, payload, parent_id=None, attachments=[first])


def test_attachment_data_may_lack_padding_but_must_be_base64() -> None:
    def payload(data: str) -> dict[str, Any]:
        return payload_of("sub_1", message={"kind": "user", "body": "", "attachments": [{"type": "image", "data": data, "mimeType": "x"}]})

    assert submission_attachments(payload("cGljdHVyZQ"))[0][1] == b"picture"
    with pytest.raises(InvalidInputError, match="att_direct_sub_1_0 is not base64"):
        submission_attachments(payload("a"))


def test_a_signal_input() -> None:
    message = {"kind": "signal", "type": "test.event", "body": "Hello", "attributes": {"k": "v"}, "tagName": "event"}
    record = builders.input_record(mine, AT, payload_of("sub_1", message=message, kind="dispatch"), parent_id="entry_x")
    assert wire.canonical_json(record) == (
        f'{{"v":1,"id":"record_dispatch_input_sub_1","type":"signal",{HEAD},{OWNER},"messageId":"entry_dispatch_c3ViXzE",'
        '"parentId":"entry_x","signalType":"test.event","tagName":"event","content":"Hello","attributes":{"k":"v"}}'
    )
    bare = builders.input_record(mine, AT, payload_of("sub_1", message={"kind": "signal", "type": "t", "body": ""}), parent_id=None)
    assert list(bare)[9:] == ["messageId", "parentId", "signalType", "content"]


def test_an_input_needs_the_envelope_of_its_submission() -> None:
    with pytest.raises(InvalidInputError, match="another submission"):
        builders.input_record(mine, AT, payload_of("sub_2"), parent_id=None)
    with pytest.raises(InvalidInputError, match="submission id"):
        builders.submission_settled(system, AT, "direct", "completed")


def test_the_settlement_record_has_the_order_that_recovery_compares() -> None:
    record = builders.submission_settled(mine, AT, "dispatch", "failed", error=builders.settlement_error(SessionBusyError("Busy.")))
    assert wire.canonical_json(record) == (
        f'{{"v":1,"id":"record_dispatch-submission:sub_1:settled","type":"submission_settled",{HEAD},{OWNER},"outcome":"failed",'
        '"error":{"name":"SessionBusyError","message":"Busy.","type":"session_busy",'
        '"details":"Wait for accepted work to settle, then retry the deletion."}}'
    )
    text = wire.canonical_json(record)
    assert wire.canonical_json(wire.parse_json(text)) == text
    assert list(builders.submission_settled(mine, AT, "direct", "completed", error={"name": "x"}))[7:] == [
        *("submissionId", "attemptId", "outcome")
    ]


def test_an_error_of_others_is_replaced_wholesale() -> None:
    shown = builders.settlement_error(RuntimeError("password=hunter2"))
    assert shown.keys() == {"name", "message", "type", "details"}
    assert (shown["name"], shown["type"]) == ("Error", "internal_error")
    assert shown["message"] == "The agent submission failed because of an internal error."
    assert "hunter2" not in str(shown)
    assert "submissionId" in shown["details"]


def test_meta_is_shown_when_json_can_hold_it() -> None:
    assert builders.settlement_error(SessionBusyError("b", meta={"n": 1}))["meta"] == {"n": 1}
    assert "meta" not in builders.settlement_error(SessionBusyError("b", meta={"n": object()}))


def test_the_envelope_writes_its_ids_in_order_and_leaves_absent_ones_out() -> None:
    envelope = Envelope(CONVERSATION, submission_id="s", attempt_id="a", operation_id="o", turn_id="t")
    record = envelope.record("x", AT, {"own": None}, record_id="record_1")
    assert list(record) == [
        *(
            "v",
            "id",
            "type",
            "conversationId",
            "harness",
            "session",
            "timestamp",
            "submissionId",
            "attemptId",
            "operationId",
            "turnId",
            "own",
        )
    ]
    assert record["own"] is None
    assert list(system.record("x", AT))[-1] == "timestamp"
    assert system.record("x", AT)["id"] != system.record("x", AT)["id"]


def test_a_tool_step_and_its_markers() -> None:
    step = builders.tool_step_settled(mine, AT, tool_call_id="c1", tool_name="look", step_name="load", value=None)
    assert step["id"] == "record_tool_step_YzE_bG9hZA"
    assert list(step)[9:] == ["toolCallId", "toolName", "stepName", "value"]
    assert list(builders.agent_start_run(mine, AT))[-1] == "attemptId"
    assert builders.agent_finish_cycle(mine, AT)["type"] == "agent_finish_cycle"


def test_an_advisory_has_deterministic_ids() -> None:
    record = builders.advisory_signal(mine, AT, "aborted", parent_id=INPUT_ENTRY)
    assert (record["id"], record["messageId"]) == ("record_submission_aborted_sub_1", "entry_submission_aborted_sub_1")
    assert record["signalType"] == "submission_aborted"
    assert fold([*begun(), record]).conversations[CONVERSATION].leaf == record["messageId"]


@pytest.mark.parametrize("text", ["", "An answer."])
def test_an_answer_folds_to_one_completed_entry(text: str) -> None:
    records = builders.assistant_message(mine, AT, parent_id=INPUT_ENTRY, text=text, model_info=MODEL)
    conversation = fold([*begun(), *records]).conversations[CONVERSATION]
    assert conversation.path[-1].kind == "assistant"
    assert conversation.draft is None
    assert list(records[-1])[9:] == ["messageId", "stopReason", "usage"]
    assert list(records[0])[9:] == ["messageId", "parentId", "modelInfo"]


def test_a_failed_answer_says_why_after_its_usage() -> None:
    record = builders.assistant_completed(mine, AT, message_id="entry_a1", stop_reason="error", error="overloaded")
    assert list(record)[9:] == ["messageId", "stopReason", "usage", "error"]


def test_an_outcome_in_full() -> None:
    record = builders.tool_outcome(
        mine, AT, assistant_message_id="e", tool_call_id="c", tool_name="look", text="t", terminate=True, duration_ms=5
    )
    assert list(record)[9:] == [
        *("assistantMessageId", "toolCallId", "toolName", "isError", "content", "terminate", "durationMs"),
    ]
