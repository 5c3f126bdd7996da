"""Deletion of session trees and the receipts that it leaves: spec/submissions.md §12 and §16."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flue_sqla.errors import FlueError, ReceiptRetainedError
from flue_sqla.records import Attempt
from flue_sqla.testing.contracts.examples import (
    SESSION,
    admitted,
    attempt,
    canonical_session,
    claimed,
    direct,
    dispatch,
    image,
    ready,
    running,
    settlement,
    submission,
    user,
)
from flue_sqla.testing.stores import Stores

BUSY = "Session cannot be deleted while durable agent submissions are queued or running."
DELETING = "Durable agent submission admission is unavailable while this session is being deleted."


class SessionDeletionContract:
    """spec/submissions.md §16, with the statuses of generation 2: joining and joined rows refuse it too."""

    def test_d13_unsettled_work_refuses_the_deletion(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        self.refused(stores)
        stores.submissions.mark_ready("dispatch-1")
        claimed(stores, "dispatch-1")
        self.refused(stores)
        record = settlement(attempt())
        stores.submissions.reserve_settlement(attempt(), record["id"], record)
        self.refused(stores)
        stores.submissions.finalize_settlement(attempt(), record["id"])
        stores.sessions.delete_tree(SESSION, lambda: None)

    @pytest.mark.parametrize("status", ["joining", "joined"])
    def test_d14_deliveries_without_their_host_refuse_it_too(self, stores: Stores, status: str) -> None:
        host = running(stores, dispatch("host-1"))
        ready(stores, dispatch("child-1"))
        stores.submissions.claim_joinable(host, "assistant")
        stores.rows.update("flue_agent_submissions", {"submission_id": "host-1"}, status="settled")
        stores.rows.update("flue_agent_submissions", {"submission_id": "child-1"}, status=status)
        self.refused(stores)

    def refused(self, stores: Stores) -> None:
        before = stores.rows.select("flue_agent_submissions")
        with pytest.raises(FlueError, match=BUSY):
            stores.sessions.delete_tree(SESSION, lambda: pytest.fail("the tree must not be touched"))
        assert stores.sessions.list_pending_deletions() == []
        assert stores.rows.select("flue_agent_submissions") == before

    def test_d15_other_sessions_do_not_matter(self, stores: Stores) -> None:
        admitted(stores, dispatch(agent="reviewer"))
        stores.sessions.delete_tree(SESSION, lambda: None)
        assert submission(stores).status == "queued"

    def test_d16_deletion_removes_everything_of_the_settled_work(self, stores: Stores) -> None:
        message = user("Look", image(b"pixels"))
        owner = running(stores, dispatch(message=message))
        self.journal(stores, owner)
        stores.submissions.complete(owner)
        stores.sessions.delete_tree(SESSION, lambda: None)
        for table in (
            "flue_agent_submissions",
            "flue_submission_chunks",
            "flue_agent_turn_journals",
            "flue_agent_stream_chunks",
            "flue_agent_session_deletions",
        ):
            assert stores.rows.select(table) == [], table

    def journal(self, stores: Stores, owner: Attempt) -> None:
        stores.journals.begin(
            submission_id=owner.submission_id,
            session_key=SESSION,
            kind="dispatch",
            attempt_id=owner.attempt_id,
            operation_id="op_1",
            turn_id="turn_1",
            phase="before_provider",
        )
        stores.journals.update_phase(owner, "provider_started", stream_key="key-1")
        stores.journals.append_segment("key-1", 0, "[]")

    def test_d17_a_deleted_dispatch_leaves_a_receipt_and_never_runs_again(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch()))
        stores.sessions.delete_tree(SESSION, lambda: None)
        admission = stores.submissions.admit_dispatch(dispatch(message=user("anything at all")))
        assert admission.to_wire() == {
            "kind": "retained_receipt",
            "receipt": {"submissionId": "dispatch-1", "acceptedAt": 1_780_444_800_000},
        }
        assert stores.rows.select("flue_agent_submissions") == []

    def test_d17b_a_keyed_prompt_leaves_a_receipt_too_and_its_caller_is_told(self, stores: Stores) -> None:
        keyed = direct("sub_ik_0123456789abcdef0123456789abcdef")
        stores.submissions.complete(running(stores, keyed))
        stores.sessions.delete_tree(SESSION, lambda: None)
        with pytest.raises(ReceiptRetainedError) as caught:
            stores.submissions.admit_direct(keyed)
        assert caught.value.code == "submission_receipt_retained"
        assert stores.rows.select("flue_agent_submissions") == []

    def test_d17c_attempt_markers_go_with_their_submission(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch()))
        stores.journals.insert_marker(attempt())
        stores.journals.insert_marker(attempt("elsewhere"))
        stores.sessions.delete_tree(SESSION, lambda: None)
        assert [marker.submission_id for marker in stores.journals.list_markers()] == ["elsewhere"]

    def test_d18_the_marker_is_visible_to_the_callback_and_stops_admission(self, stores: Stores) -> None:
        seen: list[Any] = []

        def callback() -> None:
            seen.append(stores.sessions.list_pending_deletions())
            for input in (dispatch(), direct()):
                with pytest.raises(FlueError, match=DELETING):
                    admitted(stores, input)
            admitted(stores, dispatch("elsewhere", agent="reviewer"))

        stores.sessions.delete_tree(SESSION, callback)
        assert seen == [[SESSION]]
        assert stores.sessions.list_pending_deletions() == []
        assert admitted(stores, dispatch()).status == "queued"

    def test_d18b_a_receipt_answers_before_the_marker_refuses(self, stores: Stores) -> None:
        """spec/submissions.md §12: the receipt is looked for first."""
        stores.submissions.complete(running(stores, dispatch()))
        stores.sessions.delete_tree(SESSION, lambda: None)

        def callback() -> None:
            assert stores.submissions.admit_dispatch(dispatch()).kind == "retained_receipt"
            with pytest.raises(FlueError, match=DELETING):
                stores.submissions.admit_dispatch(dispatch("dispatch-2"))

        stores.sessions.delete_tree(SESSION, callback)
        assert stores.rows.select("flue_agent_submissions") == []

    def test_d19_a_failing_callback_takes_the_marker_back(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch()))

        def callback() -> None:
            raise LookupError("the tree is not there")

        with pytest.raises(LookupError, match="the tree is not there"):
            stores.sessions.delete_tree(SESSION, callback)
        assert stores.sessions.list_pending_deletions() == []
        assert submission(stores).status == "settled"
        assert stores.submissions.admit_dispatch(dispatch()).kind == "submission"

    def test_d20_rows_accepted_after_the_marker_survive(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch("before")))
        later = running(stores, dispatch("after", accepted_at="2026-06-03T00:01:00.001Z"), "attempt-2")
        stores.submissions.complete(later)
        stores.sessions.delete_tree(SESSION, lambda: None)
        assert stores.submissions.get("before") is None
        assert submission(stores, "after").status == "settled"

    def test_d21_a_crashed_deletion_stays_pending_and_can_be_run_again(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch()))
        started_at = stores.clock.now()
        stores.rows.insert("flue_agent_session_deletions", session_key=SESSION, started_at=started_at)
        assert stores.sessions.list_pending_deletions() == [SESSION]
        with pytest.raises(FlueError, match=DELETING):
            admitted(stores, direct())
        stores.clock.advance(60_000)
        called: list[int] = []
        stores.sessions.delete_tree(SESSION, lambda: called.append(1))
        assert called == [1]
        assert stores.sessions.list_pending_deletions() == []
        assert stores.submissions.get("dispatch-1") is None

    def test_d21b_a_rerun_keeps_the_first_marker_and_its_time(self, stores: Stores) -> None:
        started_at = stores.clock.now()
        stores.submissions.complete(running(stores, dispatch(accepted_at="2026-06-03T00:01:00.001Z")))
        stores.rows.insert("flue_agent_session_deletions", session_key=SESSION, started_at=started_at)
        stores.clock.advance(60_000)
        seen: list[Any] = []
        stores.sessions.delete_tree(SESSION, lambda: seen.extend(stores.rows.select("flue_agent_session_deletions")))
        assert seen == [{"session_key": SESSION, "started_at": started_at}]
        assert submission(stores).status == "settled"

    def test_d22_concurrent_calls_for_one_key_share_one_deletion(self, stores: Stores) -> None:
        first_is_inside, second_is_waiting = threading.Event(), threading.Event()
        called: list[str] = []

        def first() -> None:
            called.append("first")
            first_is_inside.set()
            second_is_waiting.wait(1.0)  # there is no event for "the other call has begun to wait"

        def second() -> None:
            assert first_is_inside.wait(30)
            stores.sessions.delete_tree(SESSION, lambda: called.append("second"))

        for outcome in stores.concurrently(lambda: stores.sessions.delete_tree(SESSION, first), second):
            outcome.unwrap()
        assert called == ["first"]

    def test_d23_direct_submissions_leave_no_receipt(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, direct()))
        stores.sessions.delete_tree(SESSION, lambda: None)
        assert stores.rows.select("flue_agent_dispatch_receipts") == []
        assert admitted(stores, direct()).status == "queued"

    def test_d24_pending_deletions_lists_every_marker(self, stores: Stores) -> None:
        keys = sorted(canonical_session("assistant", f"agent-{number}") for number in range(3))
        for key in keys:
            stores.rows.insert("flue_agent_session_deletions", session_key=key, started_at=1)
        assert sorted(stores.sessions.list_pending_deletions()) == keys
