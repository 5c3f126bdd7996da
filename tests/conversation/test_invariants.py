"""Each of the thirteen invariants, broken in every way that it can be (spec/streams.md §7)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flue_sqla.conversation import builders, fold
from flue_sqla.errors import ConversationRecordInvariantError, InvalidInputError
from tests.conversation.stream import (
    ASSISTANT,
    AT,
    INPUT_ENTRY,
    ULID,
    action,
    answered,
    begun,
    birth,
    call,
    called,
    calling,
    commit,
    completed,
    folded,
    given,
    mine,
    note,
    outcome,
    payload_of,
    result_entry,
    retained,
    settled,
    started,
    system,
    task,
)


def without(record: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in fields}


def block(kind: str, stage: str, block_id: str = "block_1", **fields: Any) -> dict[str, Any]:
    return mine.record(f"assistant_{kind}_{stage}", AT, {"messageId": ASSISTANT, "blockId": block_id, **fields})


def summary(**fields: Any) -> dict[str, Any]:
    own = {"entryId": "entry_sum", "parentId": INPUT_ENTRY, "summary": "s", "firstKeptEntryId": INPUT_ENTRY, "sourceLeafId": INPUT_ENTRY}
    return mine.record("compaction", AT, {**own, "tokensBefore": 1, **fields})


def root(conversation_id: str = "conv_2", **fields: Any) -> dict[str, Any]:
    return {**birth(conversation_id=conversation_id), "session": "other", **fields}


def metadata(**fields: Any) -> dict[str, Any]:
    return {**mine.record("message_metadata", AT, {"metadata": {}}), **fields}


def data() -> dict[str, Any]:
    return mine.record("message_data_write", AT, {"name": "n", "data": 1})


def step(**fields: Any) -> dict[str, Any]:
    return {**builders.tool_step_settled(mine, AT, tool_call_id="c1", tool_name="look", step_name="load", value=1), **fields}


OPEN = [*begun(), started()]
TEXT = [*OPEN, block("text", "started", blockIndex=0)]
DELTA = [*TEXT, block("text", "delta", sequence=0, delta="a")]
CLOSED = [*DELTA, block("text", "completed", deltaCount=1)]
FAMILY = [birth(), task()]

BROKEN: list[tuple[int, str, list[dict[str, Any]], dict[str, Any]]] = [
    (1, "v must be 1", [], {**birth(), "v": 2}),
    (1, "v must be 1", [], without(birth(), "v")),
    (1, "v must be 1", [], {**birth(), "v": True}),
    (1, "v must be 1", [], {**birth(), "v": "1"}),
    (1, "id must be", [], without(birth(), "id")),
    (1, "id must be", [], {**birth(), "id": ""}),
    (1, "type must be", begun(), without(note(), "type")),
    (1, "other content", begun(), {**given(), "content": []}),
    (1, "other content", begun(), {**note(), "id": given()["id"]}),
    (2, "conversationId must be", [], {**birth(), "conversationId": None}),
    (2, "harness must be", [], without(birth(), "harness")),
    (2, "session must be", [], {**birth(), "session": 5}),
    (2, "created before", [birth()], {**birth(), "id": "record_other", "session": "other"}),
    (2, "already belong to conversation conv_1", [birth()], birth(conversation_id="conv_2")),
    (2, "kind must be", [], {**birth(), "kind": "tree"}),
    (2, "kind must be", [], without(birth(), "kind")),
    *[(2, f"no {field}", [], {**birth(), field: "x"}) for field in ("parentConversationId", "taskId", "actionInvocationId", "agent")],
    (2, "uid must be", [], {**birth(), "uid": 7}),
    (2, "parent conversation conv_1 does not exist", [], task()),
    (2, "parentConversationId must be", [birth()], without(task(), "parentConversationId")),
    (2, "taskId must be", [birth()], without(task(), "taskId")),
    (2, "taskId must be task_ and a ULID", [birth()], task("task_x")),
    (2, "taskId must be task_ and a ULID", [birth()], task(f"task_{ULID.lower()}")),
    (2, "taskId must be task_ and a ULID", [birth()], task(f"inv_{ULID}")),
    (2, "parent's harness", [birth()], task(harness="other")),
    (2, "session of this task must be task:default:task_", [birth()], task(session="task:x")),
    (2, "parent conversation conv_9 does not exist", [birth()], action(parentConversationId="conv_9")),
    (2, "inv_ and a ULID", [birth()], action(f"task_{ULID}")),
    (2, "harness of this action must be default:action:", [birth()], action(harness="other")),
    (2, "must not begin with", [birth()], action(session="task:x")),
    (2, "must not begin with", [birth()], action(session="action:x")),
    (3, "was not created", [], note(parent_id=None)),
    (3, "was not created", [birth()], {**note(parent_id=None), "conversationId": "conv_9"}),
    (3, "conversationId must be", [birth()], without(note(parent_id=None), "conversationId")),
    (3, "harness and session must be default and default", [birth()], {**note(parent_id=None), "harness": "other"}),
    (3, "harness and session must be default and default", [birth()], without(note(parent_id=None), "session")),
    (3, "submissionId must be", [birth()], {**given(), "submissionId": None}),
    (4, "does not begin with entry_", begun(), note("msg_1")),
    (4, "messageId must be", begun(), note(messageId=None)),
    (4, "used before", begun(), note(INPUT_ENTRY)),
    (4, "used before", begun(), started(INPUT_ENTRY)),
    (4, "used before", begun(), summary(entryId=INPUT_ENTRY)),
    (4, "does not begin with entry_", begun(), summary(entryId="sum_1")),
    (4, f"must be the leaf {INPUT_ENTRY}, not None", begun(), note(parent_id=None)),
    (4, "must be the leaf None, not entry_x", [birth()], note(parent_id="entry_x")),
    (4, "must be the leaf", [birth()], without(note(parent_id=None), "parentId")),
    (4, "must be the leaf", [*begun(), note("entry_n1")], note("entry_n2")),
    (4, "must be the leaf", begun(), started(parent_id=None)),
    (4, "must be the leaf", begun(), summary(parentId=None)),
    (4, "content must be an array", [birth()], {**given(), "content": "Hello"}),
    (5, "in progress", OPEN, note()),
    (5, "in progress", OPEN, given(payload_of("sub_1", kind="dispatch"), parent_id=INPUT_ENTRY)),
    (5, "in progress", OPEN, summary()),
    (5, "in progress", OPEN, started("entry_a2")),
    (5, "in progress", [*calling("aborted"), started("entry_a2", ASSISTANT)], commit("c1", "c2")),
    (5, "not committed", calling(), note(parent_id=ASSISTANT)),
    (5, "not committed", calling(), started("entry_a2", ASSISTANT)),
    (5, "not committed", [*calling(), outcome("c1"), outcome("c2")], summary(parentId=ASSISTANT, sourceLeafId=ASSISTANT)),
    (6, "not in progress", begun(), completed()),
    (6, "not in progress", begun(), call("c1", 0)),
    (6, "not in progress", begun(), block("text", "started", blockIndex=0)),
    (6, "not in progress", begun(), block("reasoning", "delta", sequence=0, delta="a")),
    (6, "not in progress", OPEN, completed(message_id="entry_other")),
    (6, "not in progress", [*CLOSED, completed("stop")], completed("stop")),
    (6, "not in progress", [*CLOSED, completed("stop")], block("text", "started", "block_2", blockIndex=1)),
    (6, "begun before", TEXT, block("reasoning", "started", blockIndex=1)),
    (6, "begun before", [*OPEN, call("c1", 0)], call("c2", 1, blockId="block_c1")),
    (6, "blockIndex 0 was used", TEXT, block("text", "started", "block_2", blockIndex=0)),
    (6, "blockIndex 0 was used", TEXT, call("c1", 0)),
    *[(6, "non-negative integer", OPEN, block("text", "started", blockIndex=index)) for index in (-1, 0.5, "0", None, True)],
    (6, "blockId must be", OPEN, block("text", "started", None, blockIndex=0)),  # type: ignore[arg-type]
    (6, "delta 1 came where 0 was due", TEXT, block("text", "delta", sequence=1, delta="a")),
    (6, "delta 0 came where 1 was due", DELTA, block("text", "delta", sequence=0, delta="a")),
    (6, "has no text block", OPEN, block("text", "delta", sequence=0, delta="a")),
    (6, "has no reasoning block", TEXT, block("reasoning", "delta", sequence=0, delta="a")),
    (6, "has no text block", [*OPEN, call("c1", 0)], block("text", "completed", "block_c1", deltaCount=0)),
    (6, "is completed", CLOSED, block("text", "delta", sequence=1, delta="a")),
    (6, "is completed", CLOSED, block("text", "completed", deltaCount=1)),
    (6, "deltaCount is 2, but there were 1", DELTA, block("text", "completed", deltaCount=2)),
    (6, "non-negative integer", DELTA, block("text", "completed")),
    (6, "block block_1 is not completed", DELTA, completed("stop")),
    (6, "stopReason must be", CLOSED, completed("end_turn")),
    (6, "toolCallId must be", OPEN, call("c1", 0, toolCallId=None)),
    (6, "name must be", OPEN, call("c1", 0, name="")),
    (7, "does not exist", begun(), outcome("c1")),
    (7, "does not exist", begun(), outcome("c1", INPUT_ENTRY)),
    (7, "does not exist", [*OPEN, call("c1", 0)], outcome("c1")),
    (7, "has no call c3", calling(), outcome("c3")),
    (7, "has no call c1 of tool write", calling(), {**outcome("c1"), "toolName": "write"}),
    (7, "has an outcome already", [*calling(), outcome("c1")], outcome("c1", record_id="record_again")),
    *[(7, "terminate may only be true", calling(), {**outcome("c1"), "terminate": value}) for value in (False, None, 1, "true")],
    (8, "not a completed message with tool use at the leaf", begun(), commit("c1")),
    (8, "not a completed message with tool use at the leaf", calling("stop"), commit("c1", "c2")),
    (8, "not a completed message with tool use at the leaf", calling("aborted"), commit("c1", "c2")),
    (8, "not a completed message with tool use at the leaf", called(), {**commit("c1", "c2"), "id": "record_again"}),
    (8, "not a completed message with tool use at the leaf", answered(), {**commit("c1", "c2"), "id": "record_again"}),
    (8, "parentId must be", [*calling(), outcome("c1"), outcome("c2")], {**commit("c1", "c2"), "parentId": INPUT_ENTRY}),
    (8, "call c2 has no outcome", [*calling(), outcome("c1")], commit("c1")),
    (8, "once, in call order", [*calling(), outcome("c1"), outcome("c2")], commit("c2", "c1")),
    (8, "once, in call order", [*calling(), outcome("c1"), outcome("c2")], commit("c1")),
    (8, "once, in call order", [*calling(), outcome("c1"), outcome("c2")], commit("c1", "c2", "c2")),
    (8, "once, in call order", [*calling(), outcome("c1"), outcome("c2")], without(commit("c1", "c2"), "outcomeIds")),
    (9, f"sourceLeafId must be the leaf {INPUT_ENTRY}", begun(), summary(sourceLeafId=None)),
    (9, "not on the path", begun(), summary(firstKeptEntryId="entry_other")),
    (9, "not on the path", begun(), summary(firstKeptEntryId="entry_sum")),
    (9, "firstKeptEntryId must be", begun(), summary(firstKeptEntryId=[])),
    (10, "child must be an object", FAMILY, {**retained(), "child": None}),
    (10, "does not exist", [birth()], retained()),
    (10, "does not exist", FAMILY, retained(conversationId=["conv_task"])),
    (10, "is a child of None, not of conv_1", FAMILY, retained(conversationId="conv_1")),
    (10, "is a child of conv_1, not of conv_2", [*FAMILY, root()], {**retained(), "conversationId": "conv_2", "session": "other"}),
    *[(10, "identity given", FAMILY, retained(**{field: "x"})) for field in ("type", "harness", "session", "taskId")],
    (10, "identity given", [birth(), action()], retained(conversationId="conv_action", type="action", harness="x", session="default")),
    (10, "retained before with other content", [*FAMILY, retained()], retained("record_again", parentToolCallId="c1")),
    (11, "submissionId must be", begun(), without(settled(), "submissionId")),
    (12, "responseMetadata needs a submissionId", begun(), without(started(responseMetadata={}), "submissionId")),
    (12, "submissionId must be", begun(), without(metadata(), "submissionId")),
    (12, "submissionId must be", answered(), without(data(), "submissionId")),
    (12, "no completed assistant message", begun(), data()),
    (12, "no completed assistant message", OPEN, data()),
    (12, "no completed assistant message", answered(), {**data(), "submissionId": "sub_other"}),
    (13, "toolCallId must be", begun(), without(step(), "toolCallId")),
    (13, "stepName must be", begun(), step(stepName="")),
]


@pytest.mark.parametrize(("invariant", "reason", "before", "record"), BROKEN)
def test_a_record_that_breaks_an_invariant_is_named_and_leaves_no_trace(
    invariant: int, reason: str, before: list[dict[str, Any]], record: dict[str, Any]
) -> None:
    state = folded(before)
    with pytest.raises(ConversationRecordInvariantError) as caught:
        state.apply(record)
    assert reason in caught.value.meta["reason"]
    assert caught.value.meta["reason"].startswith(f"invariant {invariant}: ")
    assert caught.value.meta.keys() == {"recordId", "recordType", "reason"}
    assert (caught.value.meta["recordId"], caught.value.meta["recordType"]) == (record.get("id"), record.get("type"))
    assert caught.value.code == "conversation_record_invariant"
    assert state == folded(before)


@pytest.mark.parametrize("record", [None, [], "text", 1])
def test_what_is_no_object_is_no_record(record: Any) -> None:
    with pytest.raises(ConversationRecordInvariantError, match="must be an object"):
        fold([record])


def test_a_value_without_json_is_refused_and_leaves_no_trace() -> None:
    state = folded(begun())
    with pytest.raises(InvalidInputError, match="precision"):
        state.apply_batch([note(), step(value=2**60)])
    assert state == folded(begun())


def test_every_invariant_is_covered() -> None:
    assert {invariant for invariant, _, _, _ in BROKEN} == set(range(1, 14))


def test_an_exact_repetition_is_ignored_whatever_came_after() -> None:
    state = folded(answered())
    before = copy.deepcopy(state.conversations)
    assert [state.apply(record) for record in answered() if record["id"].startswith("record_tool")] == [False] * 3
    assert [state.apply(record) for record in begun()] == [False, False]
    assert state.conversations == before


def test_a_batch_is_folded_wholly_or_not_at_all() -> None:
    state = folded(begun())
    with pytest.raises(ConversationRecordInvariantError, match="not in progress"):
        state.apply_batch([started(), call("c1", 0), completed(), outcome("c1"), commit("c1"), completed(message_id="entry_x")])
    assert state == folded(begun())
    assert state.apply_batch([given(), *calling()[2:]]) == 4
    assert state.conversations["conv_1"].leaf == ASSISTANT


def test_the_first_broken_record_of_a_stream_is_named() -> None:
    records = [*begun(), note("entry_n1"), note("entry_n2"), note("bad")]
    with pytest.raises(ConversationRecordInvariantError) as caught:
        fold(records)
    assert caught.value.meta["recordId"] == records[3]["id"]


@pytest.mark.parametrize("stop_reason", ["stop", "length"])
def test_flue_2_1_also_waits_for_the_results_of_calls_in_a_final_message(stop_reason: str) -> None:
    follow_up = note(parent_id=ASSISTANT)
    results = [outcome("c1"), outcome("c2"), commit("c1", "c2")]
    folded([*calling(stop_reason), follow_up], "2.0")
    with pytest.raises(ConversationRecordInvariantError, match="invariant 5"):
        folded([*calling(stop_reason), follow_up], "2.1")
    folded([*calling(stop_reason), *results], "2.1")
    with pytest.raises(ConversationRecordInvariantError, match="invariant 8"):
        folded([*calling(stop_reason), *results], "2.0")


@pytest.mark.parametrize("rules", ["2.0", "2.1"])
@pytest.mark.parametrize("stop_reason", ["error", "aborted"])
def test_calls_of_a_failed_message_open_no_batch(rules: str, stop_reason: str) -> None:
    state = folded([*calling(stop_reason), note(parent_id=ASSISTANT)], rules)
    assert state.conversations["conv_1"].leaf == "entry_note"


def test_tool_use_without_calls_opens_no_batch() -> None:
    state = folded([*begun(), started(), completed("toolUse"), note(parent_id=ASSISTANT)], "2.1")
    assert state.conversations["conv_1"].leaf == "entry_note"


def test_results_become_entries_in_the_order_of_the_calls() -> None:
    calls = [call("late", 7), call("early", 2)]
    state = folded([*begun(), started(), *calls, completed(), outcome("late"), outcome("early"), commit("early", "late")])
    conversation = state.conversations["conv_1"]
    assert [entry.id for entry in conversation.path[-2:]] == [result_entry("early"), result_entry("late")]
    assert conversation.path[-2].parent_id == ASSISTANT
    assert conversation.leaf == result_entry("late")


def test_a_settlement_drops_only_what_its_own_submission_left_open() -> None:
    state = folded([*OPEN, {**settled(), "submissionId": "sub_2", "id": "record_other"}])
    assert [conversation.draft is None for conversation in state.conversations.values()] == [False]
    state.apply(settled())
    assert [conversation.draft is None for conversation in state.conversations.values()] == [True]
    state.apply(note())


def test_a_settlement_drops_the_open_message_of_a_child_conversation() -> None:
    child = {**started("entry_child", None), "conversationId": "conv_task", "session": f"task:default:task_{ULID}"}
    state = folded([*FAMILY, child, settled()])
    assert state.conversations["conv_task"].draft is None


def test_children_may_be_retained_again_with_the_same_content() -> None:
    state = folded([*FAMILY, retained(), retained("record_again")])
    assert list(state.conversations["conv_1"].retained) == ["conv_task"]


def test_an_action_child_is_retained_by_its_invocation() -> None:
    child = {"type": "action", "conversationId": "conv_action", "harness": f"default:action:inv_{ULID}", "session": "default"}
    record = system.record("child_session_retained", AT, {"child": {**child, "invocationId": f"inv_{ULID}"}})
    assert folded([birth(), action(), record]).conversations["conv_1"].retained


def test_types_without_rule_and_unknown_ones_only_need_an_envelope() -> None:
    extra = [system.record(kind, AT, {"anything": [1]}) for kind in ("agent_finish_cycle", "resource_snapshot", "from_the_future")]
    assert folded([*begun(), *extra]).conversations["conv_1"].leaf == INPUT_ENTRY
