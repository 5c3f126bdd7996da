"""Turn journals, stream segments and attempt markers: spec/submissions.md §14 to §16."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from flue_sqla.errors import FlueError
from flue_sqla.records import Attempt, Lease
from flue_sqla.testing.contracts.examples import SESSION, attempt, dispatch, running, submission
from flue_sqla.testing.stores import Stores

__all__ = ["JournalContract"]


def begin(stores: Stores, attempt_id: str = "attempt-1", **changes: Any) -> None:
    """Begins the first turn of ``dispatch-1``; keyword arguments replace those of the example."""
    turn: dict[str, Any] = {
        "submission_id": "dispatch-1",
        "session_key": SESSION,
        "kind": "dispatch",
        "attempt_id": attempt_id,
        "operation_id": "op_1",
        "turn_id": "turn_1",
        "phase": "before_provider",
    }
    assert stores.journals.begin(**{**turn, **changes}) is True


def journal(stores: Stores) -> dict[str, Any]:
    found = stores.journals.get("dispatch-1")
    assert found is not None
    return found.to_wire()


class TurnJournalContract:
    """spec/submissions.md §14."""

    def test_j01_an_unknown_journal_is_none(self, stores: Stores) -> None:
        assert stores.journals.get("dispatch-1") is None

    def test_j02_a_new_journal_has_revision_one_and_only_the_keys_that_are_set(self, stores: Stores) -> None:
        begin(stores)
        assert journal(stores) == {
            "submissionId": "dispatch-1",
            "sessionKey": SESSION,
            "kind": "dispatch",
            "attemptId": "attempt-1",
            "operationId": "op_1",
            "turnId": "turn_1",
            "phase": "before_provider",
            "revision": 1,
            "createdAt": stores.clock.now(),
            "updatedAt": stores.clock.now(),
            "committed": False,
        }

    def test_j03_options_are_stored_and_the_tool_request_is_parsed_json(self, stores: Stores) -> None:
        request = {"toolCalls": [{"name": "search", "id": "call_1", "9": 1, "a": None}]}
        begin(stores, checkpoint_leaf_id="entry_1", tool_request=request, phase="tool_request_recorded")
        found = journal(stores)
        assert (found["checkpointLeafId"], found["toolRequest"]) == ("entry_1", request)
        (row,) = stores.rows.select("flue_agent_turn_journals")
        assert row["tool_request_json"] == '{"toolCalls":[{"9":1,"name":"search","id":"call_1","a":null}]}'

    def test_j04_beginning_again_starts_over_but_keeps_the_origin(self, stores: Stores) -> None:
        begin(stores, checkpoint_leaf_id="entry_1", tool_request={"toolCalls": []})
        owner = attempt()
        assert stores.journals.update_phase(owner, "provider_started", stream_key="key-1")
        assert stores.journals.mark_stream_consumed(owner, "key-1")
        assert stores.journals.commit(owner, "entry_2")
        created = journal(stores)["createdAt"]
        stores.clock.advance(10)
        begin(stores, "attempt-2", turn_id="turn_2", session_key="another", kind="direct", operation_id="op_2")
        assert journal(stores) == {
            "submissionId": "dispatch-1",
            "sessionKey": SESSION,
            "kind": "dispatch",
            "attemptId": "attempt-2",
            "operationId": "op_2",
            "turnId": "turn_2",
            "phase": "before_provider",
            "revision": 5,
            "createdAt": created,
            "updatedAt": stores.clock.now(),
            "committed": False,
        }

    def test_j05_a_phase_update_overwrites_what_is_given_and_keeps_the_rest(self, stores: Stores) -> None:
        begin(stores, checkpoint_leaf_id="entry_1")
        stores.clock.advance(10)
        assert stores.journals.update_phase(attempt(), "provider_started", stream_key="key-1") is True
        assert stores.journals.update_phase(attempt(), "tool_request_recorded", tool_request={"toolCalls": []}) is True
        found = journal(stores)
        assert (found["phase"], found["revision"], found["updatedAt"]) == ("tool_request_recorded", 3, stores.clock.now())
        assert (found["checkpointLeafId"], found["streamKey"], found["toolRequest"]) == ("entry_1", "key-1", {"toolCalls": []})

    @pytest.mark.parametrize("owner", [attempt(attempt_id="stale"), attempt("another")])
    def test_j06_only_the_owner_writes(self, stores: Stores, owner: Attempt) -> None:
        begin(stores)
        before = journal(stores)
        assert stores.journals.update_phase(owner, "provider_started") is False
        assert stores.journals.commit(owner, "entry_2") is False
        assert stores.journals.mark_stream_consumed(owner, "key-1") is False
        assert journal(stores) == before

    def test_j07_a_journal_is_committed_once_and_then_sealed(self, stores: Stores) -> None:
        begin(stores)
        stores.journals.update_phase(attempt(), "provider_started", stream_key="key-1")
        stores.clock.advance(10)
        assert stores.journals.commit(attempt(), "entry_2") is True
        committed = journal(stores)
        assert (committed["phase"], committed["committed"], committed["committedLeafId"]) == ("committed", True, "entry_2")
        assert (committed["revision"], committed["updatedAt"]) == (3, stores.clock.now())
        assert stores.journals.commit(attempt(), "entry_3") is False
        assert stores.journals.update_phase(attempt(), "before_provider") is False
        assert stores.journals.mark_stream_consumed(attempt(), "key-1") is False
        assert journal(stores) == committed

    def test_j08_a_stream_is_consumed_once_under_its_own_key(self, stores: Stores) -> None:
        begin(stores)
        assert stores.journals.mark_stream_consumed(attempt(), "key-1") is False
        stores.journals.update_phase(attempt(), "provider_started", stream_key="key-1")
        assert stores.journals.mark_stream_consumed(attempt(), "key-2") is False
        stores.clock.advance(10)
        assert stores.journals.mark_stream_consumed(attempt(), "key-1") is True
        consumed = journal(stores)
        assert (consumed["streamConsumedAt"], consumed["revision"]) == (stores.clock.now(), 3)
        assert stores.journals.mark_stream_consumed(attempt(), "key-1") is False
        assert journal(stores) == consumed

    def test_j09_a_malformed_journal_is_an_error(self, stores: Stores) -> None:
        begin(stores)
        stores.rows.update("flue_agent_turn_journals", {"submission_id": "dispatch-1"}, phase="dreaming")
        with pytest.raises(FlueError, match=r"Persisted turn journal row is malformed\."):
            stores.journals.get("dispatch-1")

    def test_j10_of_concurrent_commits_one_wins(self, stores: Stores) -> None:
        begin(stores)
        commits = stores.concurrently(*(partial(stores.journals.commit, attempt(), f"entry_{n}") for n in range(4)))
        assert sorted(commit.unwrap() for commit in commits) == [False, False, False, True]
        assert journal(stores)["revision"] == 2


class JournalReplacementContract:
    """spec/submissions.md §13: the journal follows its submission to the next attempt in one transaction."""

    def test_j11_submission_and_journal_move_together(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        begin(stores)
        stores.clock.advance(10)
        lease = Lease(owner_id="next", lease_expires_at=stores.clock.now() + 5)
        replaced = stores.journals.replace_attempt(owner, "attempt-2", lease)
        assert replaced == submission(stores)
        assert replaced is not None
        assert (replaced.attempt_id, replaced.attempt_count, replaced.started_at) == ("attempt-2", 2, stores.clock.now())
        assert (replaced.owner_id, replaced.lease_expires_at) == ("next", lease.lease_expires_at)
        moved = journal(stores)
        assert (moved["attemptId"], moved["revision"], moved["updatedAt"]) == ("attempt-2", 2, stores.clock.now())

    def test_j12_a_stale_attempt_moves_nothing(self, stores: Stores) -> None:
        running(stores, dispatch())
        begin(stores)
        before = submission(stores), journal(stores)
        assert stores.journals.replace_attempt(attempt(attempt_id="stale"), "attempt-2") is None
        assert (submission(stores), journal(stores)) == before

    def test_j13_a_committed_or_foreign_journal_stays(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        begin(stores)
        stores.journals.commit(owner, "entry_1")
        before = journal(stores)
        assert stores.journals.replace_attempt(owner, "attempt-2") is not None
        assert journal(stores) == before
        begin(stores, "attempt-1")
        before = journal(stores)
        assert stores.journals.replace_attempt(attempt(attempt_id="attempt-2"), "attempt-3") is not None
        assert journal(stores) == before

    def test_j14_without_a_journal_the_submission_moves_alone(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        before = submission(stores)
        replaced = stores.journals.replace_attempt(owner, "attempt-2")
        assert replaced is not None
        assert replaced.owner_id == before.owner_id
        assert stores.journals.get("dispatch-1") is None


class SegmentContract:
    """spec/submissions.md §15."""

    def test_j15_segments_are_returned_in_index_order(self, stores: Stores) -> None:
        for index in (2, 0, 10, 1):
            assert stores.journals.append_segment("key-1", index, f"[{index}]") is True
        stores.journals.append_segment("key-2", 0, "[]")
        found = [segment.to_wire() for segment in stores.journals.segments("key-1")]
        assert found == [{"segmentIndex": index, "body": f"[{index}]"} for index in (0, 1, 2, 10)]

    def test_j16_the_first_body_of_an_index_stays(self, stores: Stores) -> None:
        assert stores.journals.append_segment("key-1", 0, "first") is True
        assert stores.journals.append_segment("key-1", 0, "second") is False
        assert [segment.body for segment in stores.journals.segments("key-1")] == ["first"]
        appended = stores.concurrently(*(partial(stores.journals.append_segment, "key-1", 1, f"{n}") for n in range(4)))
        assert sorted(outcome.unwrap() for outcome in appended) == [False, False, False, True]

    def test_j17_deleting_segments(self, stores: Stores) -> None:
        stores.journals.append_segment("key-1", 0, "a")
        stores.journals.append_segment("key-2", 0, "b")
        stores.journals.delete_segments("key-1")
        stores.journals.delete_segments("key-1")
        assert stores.journals.segments("key-1") == []
        assert len(stores.journals.segments("key-2")) == 1

    def test_j18_a_body_is_kept_verbatim(self, stores: Stores) -> None:
        body = '[{"type":"text_delta","contentIndex":0,"delta":"é\U0001f916\\u0000\u2028"}]' + " " * 1_900_000
        stores.journals.append_segment("key-1", 0, body)
        assert [segment.body for segment in stores.journals.segments("key-1")] == [body]


class MarkerContract:
    """spec/submissions.md §16, markers."""

    def test_j19_a_marker_keeps_its_first_timestamp(self, stores: Stores) -> None:
        first = stores.clock.now()
        stores.journals.insert_marker(attempt())
        stores.clock.advance(10)
        stores.journals.insert_marker(attempt())
        stores.journals.insert_marker(attempt(attempt_id="attempt-2"))
        found = sorted((marker.to_wire() for marker in stores.journals.list_markers()), key=lambda marker: marker["attemptId"])
        assert found == [
            {"submissionId": "dispatch-1", "attemptId": "attempt-1", "createdAt": first},
            {"submissionId": "dispatch-1", "attemptId": "attempt-2", "createdAt": first + 10},
        ]

    def test_j20_deleting_a_marker_needs_the_exact_pair(self, stores: Stores) -> None:
        stores.journals.insert_marker(attempt())
        stores.journals.delete_marker(attempt(attempt_id="attempt-2"))
        stores.journals.delete_marker(attempt("dispatch-2"))
        assert len(stores.journals.list_markers()) == 1
        stores.journals.delete_marker(attempt())
        stores.journals.delete_marker(attempt())
        assert stores.journals.list_markers() == []


class JournalContract(TurnJournalContract, JournalReplacementContract, SegmentContract, MarkerContract):
    """Every behaviour of turn journals, stream segments and attempt markers."""
