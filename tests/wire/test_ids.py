"""Generated and derived ids (spec/submissions.md §2 and §3.4, spec/streams.md §6.3)."""

from __future__ import annotations

import os
import re
import threading
import time

import pytest

from flue_sqla import wire
from flue_sqla.errors import InvalidInputError
from flue_sqla.wire import ulid


def test_an_id_is_its_prefix_and_an_upper_case_ulid_of_now() -> None:
    before = time.time_ns() // 1_000_000
    prefix, _, text = wire.new_id("sub").partition("_")
    after = time.time_ns() // 1_000_000
    assert prefix == "sub"
    assert re.fullmatch(wire.ULID_PATTERN, text)
    assert before <= sum("0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(c) << 5 * (9 - place) for place, c in enumerate(text[:10])) <= after


def test_ids_increase_within_one_millisecond_and_when_the_clock_goes_back() -> None:
    source = ulid._UlidSource()
    made = [source.next(now) for now in [1000] * 500 + [999] * 500 + [1001] * 10]
    assert made == sorted(set(made))


def test_the_last_random_number_of_a_millisecond_is_followed_by_the_next_millisecond() -> None:
    source = ulid._UlidSource()
    first = source.next(1000)
    source._random = 2**80 - 1
    following = source.next(1000)
    assert following > first
    assert following[:10] == source.next(1001)[:10]
    assert following[10:] == "0" * 16


def test_threads_never_share_an_id() -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def work(mine: list[str]) -> None:
        mine.extend(wire.new_id("x") for _ in range(2000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for mine in made for one in mine}) == 16_000
    assert all(mine == sorted(mine) for mine in made)


def test_a_forked_child_does_not_continue_its_parents_ids_nor_wait_for_its_lock() -> None:
    reader, writer = os.pipe()
    with ulid._ulids._lock:  # as if another thread of the parent were just making an id
        child = os.fork()
        if child == 0:
            os.write(writer, "".join(wire.new_id("x") for _ in range(50)).encode())
            os._exit(0)
    parents = {wire.new_id("x") for _ in range(50)}
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        children = set(re.findall("x_.{26}", pipe.read()))
    assert len(children) == 50
    assert not parents & children
    assert len({one[12:20] for one in parents | children}) >= 2  # the child drew a random part of its own


def test_a_keyed_id_is_the_frozen_hash() -> None:
    # printf 'flue-submission-key\nassistant\nagent-1\nkey' | sha256sum | cut -c1-32
    assert wire.keyed_submission_id("assistant", "agent-1", "key") == "sub_ik_b2cc7263975957ae3fe12962e3b02c82"
    assert wire.keyed_submission_id("assistant", "agent-1", "é😀") != wire.keyed_submission_id("assistant", "agent-1", "é")


@pytest.mark.parametrize("key", ["", "x" * 257, "😀" * 129])
def test_an_idempotency_key_has_1_to_256_units(key: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 256"):
        wire.keyed_submission_id("a", "b", key)
    assert wire.keyed_submission_id("a", "b", "😀" * 128)


def test_a_lone_surrogate_has_no_derived_id() -> None:
    with pytest.raises(InvalidInputError, match="surrogate"):
        wire.keyed_submission_id("a", "b", "\ud800")
    with pytest.raises(InvalidInputError, match="surrogate"):
        wire.b64("\udfff")


@pytest.mark.parametrize(("text", "encoded"), [("", ""), ("sub_1", "c3ViXzE"), ("~~~???", "fn5-Pz8_"), ("é", "w6k")])
def test_b64_is_url_safe_without_padding(text: str, encoded: str) -> None:
    assert wire.b64(text) == encoded


def test_record_ids_follow_from_what_they_name() -> None:
    assert wire.birth_record_id("conv_1") == "record_conversation_created_conv_1"
    assert wire.input_record_id("direct", "sub_1") == "record_direct_input_sub_1"
    assert wire.input_entry_id("dispatch", "sub_1") == "entry_dispatch_c3ViXzE"
    assert wire.settlement_record_id("dispatch", "sub_1") == "record_dispatch-submission:sub_1:settled"
    assert wire.advisory_record_id("aborted", "sub_1") == "record_submission_aborted_sub_1"
    assert wire.advisory_entry_id("interrupted", "sub_1") == "entry_submission_interrupted_sub_1"
    assert wire.tool_outcome_record_id("entry_1", "call_1") == "record_tool_outcome_ZW50cnlfMQ_Y2FsbF8x"
    assert wire.tool_result_entry_id("entry_1", "call_1") == "entry_tool_result_ZW50cnlfMQ_Y2FsbF8x"
    assert wire.tool_commit_record_id("entry_1") == "record_tool_results_committed_ZW50cnlfMQ"
    assert wire.tool_repair_outcome_record_id("entry_1", "call_1") == "record_tool_repair_outcome_ZW50cnlfMQ_Y2FsbF8x"
    assert wire.tool_repair_commit_record_id("entry_1") == "record_tool_repair_commit_ZW50cnlfMQ"
    assert wire.tool_step_record_id("call_1", "load") == "record_tool_step_Y2FsbF8x_bG9hZA"
    assert wire.child_retained_record_id("conv_1", "conv_2") == "record_child_retained_conv_1_conv_2"
    assert wire.recovery_block_record_id("entry_1", "block_1") == "record_recovery_entry_1_block_1_completed"
    assert wire.recovery_aborted_record_id("entry_1") == "record_recovery_entry_1_aborted"
    assert wire.recovery_signal_record_id("entry_1", "stream_interrupted") == "record_recovery_entry_1_stream_interrupted"
    assert wire.recovery_signal_entry_id("entry_1", "stream_continued") == "entry_recovery_entry_1_stream_continued"
