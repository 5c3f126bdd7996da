"""Ending what a dead attempt left open (spec/lifecycle.md §7)."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla import wire
from flue_sqla.conversation import AssistantEntry, Envelope, builders, inspect_submission, repairs
from tests.conversation.stream import ASSISTANT, AT, CONVERSATION, answer, begun, call, called, calling, folded, mine, outcome, started

again = Envelope(CONVERSATION, submission_id="sub_1", attempt_id="attempt_2")


def test_nothing_open_needs_nothing() -> None:
    conversation = folded(called()).conversations[CONVERSATION]
    assert repairs.close_draft(conversation, again, AT) == []
    assert repairs.close_batch(conversation, again, AT) == []


def test_a_message_in_progress_becomes_an_aborted_entry() -> None:
    text = builders.assistant_text(mine, AT, message_id=ASSISTANT, text="half", block_index=0, block_id="block_t")[:2]
    thought = mine.record("assistant_reasoning_started", AT, {"messageId": ASSISTANT, "blockId": "block_r", "blockIndex": 2})
    state = folded([*begun(), started(), *text, call("c1", 1), thought])
    records = repairs.close_draft(state.conversations[CONVERSATION], again, AT)
    assert [record["id"] for record in records] == [
        f"record_recovery_{ASSISTANT}_block_t_completed",
        f"record_recovery_{ASSISTANT}_block_r_completed",
        f"record_recovery_{ASSISTANT}_aborted",
    ]
    state.apply_batch(records)
    conversation = state.conversations[CONVERSATION]
    assert (conversation.draft, conversation.leaf) == (None, ASSISTANT)
    assert inspect_submission(state, "direct", "sub_1") == "interrupted"
    state.apply_batch(answer(ASSISTANT))  # the conversation goes on, calls of the aborted message or not
    assert inspect_submission(state, "direct", "sub_1") == "completed"


@pytest.mark.parametrize("recorded", [(), ("c1",), ("c2",), ("c1", "c2")])
def test_an_open_batch_is_committed_with_what_is_known(recorded: tuple[str, ...]) -> None:
    state = folded([*calling(), *(outcome(call_id) for call_id in recorded)])
    records = repairs.close_batch(state.conversations[CONVERSATION], again, AT)
    state.apply_batch(records)
    conversation = state.conversations[CONVERSATION]
    assistant = conversation.entries[ASSISTANT]
    assert isinstance(assistant, AssistantEntry)
    assert {call_id for call_id, known in assistant.outcomes.items() if not known.is_error} == set(recorded)
    assert assistant.committed
    assert conversation.leaf == wire.tool_result_entry_id(ASSISTANT, "c2")
    assert records[-1]["id"] == wire.tool_repair_commit_record_id(ASSISTANT)
    assert all("unknown" in record["content"][0]["text"] for record in records[:-1])


@pytest.mark.parametrize(("rules", "count"), [("2.0", 0), ("2.1", 3)])
def test_calls_of_a_final_message_are_a_batch_only_for_2_1(rules: Any, count: int) -> None:
    state = folded(calling("stop"), rules)
    assert len(repairs.close_batch(state.conversations[CONVERSATION], again, AT, rules=rules)) == count
