"""Abort requests and the settlement of queued rows: items 20 to 32 of the submission contract."""

from __future__ import annotations

from flue_sqla.testing.contracts.examples import (
    SESSION,
    admitted,
    attempt,
    claimed,
    dispatch,
    ready,
    running,
    settlement,
    submission,
)
from flue_sqla.testing.stores import Stores


class AbortContract:
    """spec/submissions.md §7.7: a request is a stamp; it changes no status."""

    def test_s20_a_queued_row_is_stamped_and_stays_queued(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        assert stores.submissions.request_abort(SESSION) == ["dispatch-1"]
        stored = submission(stores)
        assert stored.status == "queued"
        assert isinstance(stored.abort_requested_at, int)

    def test_s21_the_running_head_and_the_queue_behind_it_are_all_stamped(self, stores: Stores) -> None:
        running(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2"))
        admitted(stores, dispatch("dispatch-3"))
        everyone = {"dispatch-1", "dispatch-2", "dispatch-3"}
        assert set(stores.submissions.request_abort(SESSION)) == everyone
        stored = [submission(stores, name) for name in sorted(everyone)]
        assert [row.status for row in stored] == ["running", "queued", "queued"]
        assert all(row.abort_requested_at is not None for row in stored)

    def test_s22_another_agent_with_the_same_instance_id_is_not_affected(self, stores: Stores) -> None:
        admitted(stores, dispatch("dispatch-1"))
        admitted(stores, dispatch("dispatch-2", agent="reviewer"))
        assert stores.submissions.request_abort(SESSION) == ["dispatch-1"]
        assert submission(stores, "dispatch-2").abort_requested_at is None

    def test_s23_a_second_request_keeps_the_first_timestamp(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        stores.submissions.request_abort(SESSION)
        first = submission(stores).abort_requested_at
        stores.clock.advance(1_000)
        assert stores.submissions.request_abort(SESSION) == ["dispatch-1"]
        assert submission(stores).abort_requested_at == first

    def test_s24_after_completion_there_is_nothing_to_abort(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch(), lease_expires_at=1))
        assert stores.submissions.request_abort(SESSION) == []
        assert stores.submissions.list_runnable() == []
        assert stores.submissions.list_expired() == []
        assert claimed(stores, "dispatch-1", "attempt-2") is None
        assert submission(stores).abort_requested_at is None

    def test_s24b_a_reserved_settlement_is_out_of_reach(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        stores.submissions.reserve_settlement(owner, record["id"], record)
        assert stores.submissions.request_abort(SESSION) == []
        assert submission(stores).abort_requested_at is None

    def test_s25_an_unknown_session_has_nothing_to_abort(self, stores: Stores) -> None:
        assert stores.submissions.request_abort(SESSION) == []


class SettleQueuedContract:
    """spec/submissions.md §7.11: only a row that nobody has claimed."""

    def test_s26_an_unready_queued_row_is_settled(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        assert stores.submissions.settle_queued("dispatch-1", "failed", "refused") is True
        settled = submission(stores)
        assert (settled.status, settled.error) == ("settled", "refused")
        assert isinstance(settled.settled_at, int)
        assert stores.submissions.has_unsettled() is False
        assert stores.submissions.list_runnable() == []
        assert stores.submissions.mark_ready("dispatch-1") is None
        assert claimed(stores, "dispatch-1") is None

    def test_s27_an_abort_flagged_row_is_settled_as_aborted(self, stores: Stores) -> None:
        ready(stores, dispatch())
        stores.submissions.request_abort(SESSION)
        assert stores.submissions.settle_queued("dispatch-1", "aborted", RuntimeError("aborted by the user")) is True
        assert (submission(stores).status, submission(stores).error) == ("settled", "aborted by the user")

    def test_s28_a_ready_queued_row_is_settled_too(self, stores: Stores) -> None:
        ready(stores, dispatch())
        assert stores.submissions.settle_queued("dispatch-1", "failed", "refused") is True
        assert submission(stores).status == "settled"

    def test_s29_claim_and_settlement_exclude_each_other(self, stores: Stores) -> None:
        running(stores, dispatch("dispatch-1"))
        before = submission(stores, "dispatch-1")
        assert stores.submissions.settle_queued("dispatch-1", "failed", "refused") is False
        assert submission(stores, "dispatch-1") == before
        ready(stores, dispatch("dispatch-2", id="agent-2"))
        assert stores.submissions.settle_queued("dispatch-2", "failed", "refused") is True
        assert claimed(stores, "dispatch-2", "attempt-2") is None
        assert submission(stores, "dispatch-2").error == "refused"

    def test_s30_a_completed_row_is_left_alone(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch()))
        assert stores.submissions.settle_queued("dispatch-1", "failed", "too late") is False
        assert "error" not in submission(stores).to_wire()

    def test_s31_joining_and_joined_rows_are_left_alone(self, stores: Stores) -> None:
        host = running(stores, dispatch("host-1"))
        ready(stores, dispatch("child-1"))
        ready(stores, dispatch("child-2"))
        stores.submissions.claim_joinable(host, "assistant")
        stores.submissions.finalize_join(host, "child-1")
        before = submission(stores, "child-1"), submission(stores, "child-2")
        assert [row.status for row in before] == ["joined", "joining"]
        assert stores.submissions.settle_queued("child-1", "failed", "no") is False
        assert stores.submissions.settle_queued("child-2", "failed", "no") is False
        assert (submission(stores, "child-1"), submission(stores, "child-2")) == before

    def test_s32_an_unknown_id_is_false(self, stores: Stores) -> None:
        assert stores.submissions.settle_queued("never-admitted", "failed", "no") is False

    def test_s32b_only_the_addressed_attempt_is_meant(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        stores.submissions.requeue(owner)
        assert stores.submissions.settle_queued("dispatch-1", "failed", "no more tries") is True
        assert stores.submissions.complete(attempt()) is False
