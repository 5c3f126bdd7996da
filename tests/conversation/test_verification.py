"""The verdict on a whole stream."""

from __future__ import annotations

from typing import Any

from flue_sqla.conversation import verify_stream
from flue_sqla.wire import format_offset
from tests.conversation.stream import ASSISTANT, answered, calling, commit, note, outcome, settled


def batches(records: list[Any], size: int = 3) -> list[tuple[str, list[Any]]]:
    return [(format_offset(start // size), records[start : start + size]) for start in range(0, len(records), size)]


def test_a_sound_stream_is_counted() -> None:
    records = [*answered(), settled()]
    verdict = verify_stream(batches(records))
    assert (verdict.records, verdict.batches) == (len(records), -(-len(records) // 3))
    assert (verdict.conversations, verdict.submissions, verdict.settled) == (1, 1, 1)
    assert (verdict.readable_by, verdict.broken) == (("2.0", "2.1"), None)


def test_an_empty_stream_is_sound() -> None:
    assert verify_stream([]).broken is None


def test_the_first_broken_record_is_named_with_its_batch() -> None:
    records = [*answered(), note("entry_wrong"), note("entry_also_wrong")]
    verdict = verify_stream(batches(records))
    assert verdict.broken is not None
    assert (verdict.broken.record_id, verdict.broken.record_type) == (records[-2]["id"], "signal")
    assert verdict.broken.offset == format_offset((len(records) - 2) // 3)
    assert verdict.broken.reason.startswith("invariant 4: parentId must be the leaf entry_a2")
    assert (verdict.records, verdict.readable_by) == (len(records) - 2, ())


def test_what_only_one_release_reads_is_sound_for_that_one() -> None:
    for_2_0 = batches([*calling("stop"), note(parent_id=ASSISTANT)])
    for_2_1 = batches([*calling("stop"), outcome("c1"), outcome("c2"), commit("c1", "c2")])
    assert verify_stream(for_2_0).readable_by == ("2.0",)
    assert verify_stream(for_2_1).readable_by == ("2.1",)
    broken = verify_stream(for_2_0, rules=["2.1"]).broken
    assert broken is not None
    assert (broken.rules, broken.reason[:12]) == ("2.1", "invariant 5:")


def test_a_batch_that_holds_no_objects_is_broken() -> None:
    broken = verify_stream([("0_0", [None])]).broken
    assert broken is not None
    assert (broken.record_id, broken.reason) == (None, "invariant 1: a record must be an object")
