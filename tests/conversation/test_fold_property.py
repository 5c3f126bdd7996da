"""The fold over streams that nobody thought of: valid by construction, then damaged."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flue_sqla.conversation import ConversationState, Envelope, builders, fold, repairs
from flue_sqla.errors import ConversationRecordInvariantError
from tests.conversation.stream import AT, CONVERSATION, MODEL, birth, payload_of


def write(choices: list[int]) -> list[dict[str, Any]]:
    """A valid stream; each choice is one thing that a worker may do next."""
    state = ConversationState()
    records: list[dict[str, Any]] = []

    def append(*new: dict[str, Any]) -> None:
        state.apply_batch(new)
        records.extend(new)

    append(birth())
    conversation = state.conversations[CONVERSATION]
    for number, choice in enumerate(choices):
        envelope = Envelope(CONVERSATION, submission_id=f"sub_{number // 5}", attempt_id=f"attempt_{number // 3}")
        submission_id = str(envelope.submission_id)
        if conversation.draft is not None:
            message_id = conversation.draft.message_id
            index = len(conversation.draft.blocks)
            if choice % 4 == 0:
                append(*builders.assistant_text(envelope, AT, message_id=message_id, text="x" * (choice % 3), block_index=index))
            elif choice % 4 == 1:
                options: dict[str, Any] = {"tool_call_id": f"call_{number}", "name": "look", "arguments": {}}
                append(builders.assistant_tool_call(envelope, AT, message_id=message_id, block_index=index, **options))
            elif choice % 4 == 2:
                reason: Any = ["stop", "toolUse", "error"][choice % 3]
                append(builders.assistant_completed(envelope, AT, message_id=message_id, stop_reason=reason))
            else:
                append(*repairs.close_draft(conversation, envelope, AT))
        elif conversation.open_batch(state.rules) is not None:
            append(*repairs.close_batch(conversation, envelope, AT))
        elif choice % 4 == 0:
            if submission_id not in state.submissions or state.submissions[submission_id].conversation_id is None:
                append(builders.input_record(envelope, AT, payload_of(submission_id), parent_id=conversation.leaf))
        elif choice % 4 == 1:
            append(builders.signal(envelope, AT, parent_id=conversation.leaf, signal_type="t", content="c"))
        elif choice % 4 == 2:
            append(builders.tool_step_settled(envelope, AT, tool_call_id=f"call_{number}", tool_name="t", step_name="s", value=number))
        else:
            message_id = f"entry_message_{number}"
            append(builders.assistant_started(envelope, AT, message_id=message_id, parent_id=conversation.leaf, model_info=MODEL))
    return records


streams = st.lists(st.integers(0, 23), max_size=25).map(write)


@given(streams, st.data())
def test_batches_make_no_difference(records: list[dict[str, Any]], data: st.DataObject) -> None:
    state, rest = ConversationState(), list(records)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        assert state.apply_batch(rest[:size]) == size
        rest = rest[size:]
    assert state == fold(records)


@given(streams)
def test_a_stream_folded_twice_over_is_folded_once(records: list[dict[str, Any]]) -> None:
    state = fold(records)
    before = copy.deepcopy(state)
    assert state.apply_batch(copy.deepcopy(records)) == 0
    assert state == before


@settings(max_examples=300)
@given(streams, st.data())
def test_a_damaged_stream_is_refused_without_a_trace_or_folds(records: list[dict[str, Any]], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(records) - 1))
    damaged = copy.deepcopy(records)
    kind = data.draw(st.sampled_from(["drop", "swap", "field"]))
    if kind == "drop":
        del damaged[at]
    elif kind == "swap":
        other = data.draw(st.integers(0, len(records) - 1))
        damaged[at], damaged[other] = damaged[other], damaged[at]
    else:
        field = data.draw(st.sampled_from(sorted(damaged[at])))
        damaged[at][field] = data.draw(st.sampled_from([None, "", "entry_x", -1, True, [], {}, 2.5]))
    state = ConversationState()
    accepted: list[dict[str, Any]] = []
    for record in damaged:
        try:
            state.apply(record)
        except ConversationRecordInvariantError:
            continue
        accepted.append(record)
    assert state == fold(accepted)
