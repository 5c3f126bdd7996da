"""Absent, interrupted or completed (spec/lifecycle.md §6)."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla.conversation import Envelope, Inspection, builders, fold, inspect_submission
from tests.conversation.stream import (
    ASSISTANT,
    AT,
    CONVERSATION,
    INPUT_ENTRY,
    answer,
    answered,
    begun,
    birth,
    call,
    called,
    calling,
    commit,
    completed,
    given,
    note,
    outcome,
    payload_of,
    result_entry,
    settled,
    started,
)

SIGNAL = {"kind": "signal", "type": "test.event", "body": "Hello"}


def text_answer(stop_reason: Any) -> list[dict[str, Any]]:
    return [*begun(), started(), completed(stop_reason)]


def ended(*terminate: bool) -> list[dict[str, Any]]:
    """A batch of two calls whose outcomes ask for the end, or not."""
    outcomes = [outcome(call_id, terminate=end) for call_id, end in zip(("c1", "c2"), terminate, strict=True)]
    return [*calling(), *outcomes, commit("c1", "c2")]


def delivery(submission_id: str, attempt_id: str, parent_id: str, **options: Any) -> dict[str, Any]:
    """The input of another submission, written under ``attempt_id``."""
    envelope = Envelope(CONVERSATION, submission_id=submission_id, attempt_id=attempt_id)
    return builders.input_record(envelope, AT, payload_of(submission_id, **options), parent_id=parent_id)


CASES: dict[str, tuple[list[dict[str, Any]], Inspection]] = {
    "nothing": ([], "absent"),
    "birth only": ([birth()], "absent"),
    "another's input": ([birth(), delivery("sub_2", "attempt_9", None)], "absent"),  # type: ignore[arg-type]
    "input only": (begun(), "interrupted"),
    "message in progress": ([*begun(), started()], "interrupted"),
    "stop": (text_answer("stop"), "completed"),
    "length": (text_answer("length"), "completed"),
    "error": (text_answer("error"), "interrupted"),
    "aborted": (text_answer("aborted"), "interrupted"),
    "tool use without calls": (text_answer("toolUse"), "interrupted"),
    "open batch": (calling(), "interrupted"),
    "outcomes not committed": ([*calling(), outcome("c1", terminate=True), outcome("c2", terminate=True)], "interrupted"),
    "committed batch": (called(), "interrupted"),
    "all results terminate": (ended(True, True), "completed"),
    "one result does not terminate": (ended(True, False), "interrupted"),
    "something after the terminating batch": ([*ended(True, True), note(parent_id=result_entry("c2"))], "interrupted"),
    "answer after a batch": (answered(), "completed"),
    "signal after the answer": ([*answered(), note(parent_id="entry_a2")], "completed"),
    "settled": ([*answered(), settled()], "completed"),
    "another's message after the answer": ([*answered(), delivery("sub_2", "attempt_9", "entry_a2")], "interrupted"),
    "another's signal after the answer": ([*answered(), delivery("sub_2", "attempt_9", "entry_a2", message=SIGNAL)], "interrupted"),
    "joined delivery, answered": (
        [*begun(), delivery("sub_2", "attempt_1", INPUT_ENTRY), *answer("entry_direct_c3ViXzI")],
        "completed",
    ),
    "joined delivery after the answer": ([*answered(), delivery("sub_2", "attempt_1", "entry_a2")], "completed"),
    "joined delivery of a later attempt": (
        [
            *begun(),
            delivery("sub_2", "attempt_2", INPUT_ENTRY),
            *({**record, "attemptId": "attempt_2"} for record in answer("entry_direct_c3ViXzI")),
        ],
        "completed",
    ),
}


@pytest.mark.parametrize("rules", ["2.0", "2.1"])
@pytest.mark.parametrize("case", CASES)
def test_how_far_a_submission_came(case: str, rules: Any) -> None:
    records, expected = CASES[case]
    assert inspect_submission(fold(records, rules=rules), "direct", "sub_1") == expected


def test_the_kind_is_part_of_the_input() -> None:
    assert inspect_submission(fold(answered()), "dispatch", "sub_1") == "absent"


def test_a_joined_delivery_is_judged_by_what_follows_it() -> None:
    joined = [*begun(), delivery("sub_2", "attempt_1", INPUT_ENTRY)]
    assert inspect_submission(fold(joined), "direct", "sub_2") == "interrupted"
    assert inspect_submission(fold([*joined, *answer("entry_direct_c3ViXzI")]), "direct", "sub_2") == "completed"


@pytest.mark.parametrize("stop_reason", ["stop", "length"])
def test_a_final_message_with_calls_is_complete_for_2_0_but_judged_by_its_batch_for_2_1(stop_reason: str) -> None:
    records = calling(stop_reason)
    assert inspect_submission(fold(records, rules="2.0"), "direct", "sub_1") == "completed"
    assert inspect_submission(fold(records, rules="2.1"), "direct", "sub_1") == "interrupted"
    done = [*records, outcome("c1", terminate=True), outcome("c2", terminate=True), commit("c1", "c2")]
    assert inspect_submission(fold(done, rules="2.1"), "direct", "sub_1") == "completed"


def test_a_message_of_no_submission_is_of_another_origin() -> None:
    prompt = given(parent_id="entry_a2")
    for field in ("submissionId", "attemptId"):
        del prompt[field]
    prompt |= {"id": "record_prompt", "messageId": "entry_prompt"}
    assert inspect_submission(fold([*answered(), prompt]), "direct", "sub_1") == "interrupted"


def test_asking_changes_nothing() -> None:
    records = [*begun(), started(), call("c1", 0), completed(message_id=ASSISTANT)]
    state = fold(records)
    inspect_submission(state, "direct", "sub_9")
    inspect_submission(state, "direct", "sub_1")
    assert state == fold(records)
