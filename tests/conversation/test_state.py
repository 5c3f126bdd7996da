"""What the worker learns from a folded stream."""

from __future__ import annotations

from flue_sqla import wire
from flue_sqla.conversation import AssistantEntry, ConversationState, builders, fold
from tests.conversation.stream import (
    ASSISTANT,
    AT,
    INPUT_ENTRY,
    PAYLOAD,
    SUBMISSION,
    ULID,
    answered,
    begun,
    birth,
    call,
    called,
    calling,
    given,
    mine,
    outcome,
    payload_of,
    result_entry,
    settled,
    started,
    system,
    task,
)


def test_an_empty_stream_has_no_root() -> None:
    state = ConversationState()
    assert state.root is None
    assert state.conversation_of("sub_1") is None
    assert state == fold([])


def test_the_birth_gives_the_instance_its_uid_and_initial_data() -> None:
    state = fold([builders.birth_record(AT, {**PAYLOAD, "initialData": {"a": 1}}, conversation_id="conv_1", uid="inst_7")])
    assert (state.uid, state.initial_data) == ("inst_7", {"a": 1})
    assert state.root is not None
    assert (state.root.id, state.root.kind, state.root.leaf) == ("conv_1", "root", None)


def test_only_the_first_root_sets_initial_data_but_any_sets_the_uid() -> None:
    second = {**builders.birth_record(AT, {"initialData": "late"}, conversation_id="conv_2", uid="inst_2"), "session": "other"}
    state = fold([birth(), second])
    assert (state.uid, state.initial_data) == ("inst_2", None)
    third = {**builders.birth_record(AT, {}, conversation_id="conv_3"), "session": "third"}
    del third["uid"]
    assert fold([birth(), third]).uid == "inst_1"


def test_the_graph_is_one_line_to_the_leaf() -> None:
    conversation = fold(answered()).conversations["conv_1"]
    assert [entry.id for entry in conversation.path] == [INPUT_ENTRY, ASSISTANT, result_entry("c1"), result_entry("c2"), "entry_a2"]
    assert [entry.parent_id for entry in conversation.path] == [None, *[entry.id for entry in conversation.path[:-1]]]
    assert [entry.position for entry in conversation.path] == [0, 1, 2, 3, 4]
    assert [entry.kind for entry in conversation.path] == ["user_message", "assistant", "tool_result", "tool_result", "assistant"]
    assert conversation.leaf == "entry_a2"
    assert (conversation.path[0].submission_id, conversation.path[0].attempt_id) == ("sub_1", "attempt_1")


def test_a_message_in_progress_shows_its_blocks_and_calls() -> None:
    records = [*begun(), started(), *builders.assistant_text(mine, AT, message_id=ASSISTANT, text="x", block_index=0, block_id="b")[:2]]
    draft = fold([*records, call("c1", 1)]).conversations["conv_1"].draft
    assert draft is not None
    assert (draft.message_id, draft.submission_id) == (ASSISTANT, "sub_1")
    assert (draft.blocks["b"].deltas, draft.blocks["b"].completed) == (1, False)
    assert [one.id for one in draft.tool_calls] == ["c1"]


def test_an_open_batch_knows_which_calls_have_an_outcome() -> None:
    batch = fold([*calling(), outcome("c2", terminate=True)]).conversations["conv_1"].open_batch("2.0")
    assert batch is not None
    assert [one.id for one in batch.tool_calls] == ["c1", "c2"]
    assert batch.outcomes.keys() == {"c2"}
    assert batch.outcomes["c2"].terminate
    committed = fold(called()).conversations["conv_1"]
    assert committed.open_batch("2.0") is None
    assert isinstance(committed.entries[ASSISTANT], AssistantEntry)


def test_a_recorded_step_keeps_its_first_value() -> None:
    first = builders.tool_step_settled(mine, AT, tool_call_id="c1", tool_name="look", step_name="load", value={"n": 1})
    other = {**first, "id": "record_foreign", "value": {"n": 2}}
    null = builders.tool_step_settled(mine, AT, tool_call_id="c1", tool_name="look", step_name="none", value=None)
    assert fold([birth(), first, other, null]).steps == {("c1", "load"): {"n": 1}, ("c1", "none"): None}


def test_a_settlement_is_kept_as_it_was_recorded() -> None:
    record = settled()
    state = fold([*answered(), record])
    assert state.submissions[SUBMISSION].settled == record
    assert wire.canonical_json(state.submissions[SUBMISSION].settled) == wire.canonical_json(record)
    assert fold(answered()).submissions[SUBMISSION].settled is None


def test_start_hooks_are_remembered_for_each_delivery() -> None:
    state = fold([*begun(), builders.agent_start_run(mine, AT)])
    assert state.submissions[SUBMISSION].run_started
    assert not fold(begun()).submissions[SUBMISSION].run_started


def test_state_writes_keep_the_last_value() -> None:
    writes = [builders.state_write(mine, AT, name=name, value=value) for name, value in (("a", 1), ("b", 2), ("a", None))]
    assert fold([*begun(), *writes]).conversations["conv_1"].values == {"a": None, "b": 2}


def test_a_submission_belongs_to_the_conversation_of_its_first_entry() -> None:
    child = {
        **builders.signal(mine, AT, parent_id=None, signal_type="t", content="c"),
        "conversationId": "conv_task",
        "session": f"task:default:task_{ULID}",
        "submissionId": "sub_2",
    }
    state = fold([birth(), task(), given(), child])
    assert [getattr(state.conversation_of(name), "id", None) for name in ("sub_1", "sub_2", "sub_3")] == ["conv_1", "conv_task", "conv_1"]


def test_attempts_of_a_submission_are_those_its_records_name() -> None:
    second = {**builders.agent_start_run(mine, AT), "attemptId": "attempt_2"}
    joined = builders.input_record(
        mine.__class__("conv_1", submission_id="sub_2", attempt_id="attempt_2"), AT, payload_of("sub_2"), parent_id=INPUT_ENTRY
    )
    state = fold([*begun(), second, joined])
    assert list(state.submissions["sub_1"].attempt_ids) == ["attempt_1", "attempt_2"]
    assert list(state.submissions["sub_2"].attempt_ids) == ["attempt_2"]


def test_unowned_records_belong_to_no_submission() -> None:
    assert fold([birth(), builders.signal(system, AT, parent_id=None, signal_type="t", content="c")]).submissions == {}


def test_message_data_may_follow_a_completed_answer_of_its_submission() -> None:
    data = mine.record("message_data_write", AT, {"name": "n", "data": 1})
    assert fold([*answered(), data]).submissions[SUBMISSION].answered_in == {"conv_1": None}
