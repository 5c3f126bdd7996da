"""Deliveries that join a running submission: items 55 to 68 of the submission contract."""

from __future__ import annotations

from flue_sqla.records import Attempt
from flue_sqla.testing.contracts.examples import (
    SESSION,
    admitted,
    attempt,
    claimed,
    direct,
    dispatch,
    ready,
    running,
    settlement,
    submission,
)
from flue_sqla.testing.stores import Stores


def host(stores: Stores) -> Attempt:
    """``host-1`` of the shared session, running under ``attempt-1``."""
    return running(stores, dispatch("host-1"))


def joined_and_joining(stores: Stores) -> Attempt:
    """A host with one joined (``child-1``) and one joining (``child-2``) delivery."""
    owner = host(stores)
    ready(stores, dispatch("child-1"))
    ready(stores, dispatch("child-2"))
    stores.submissions.claim_joinable(owner, "assistant")
    assert stores.submissions.finalize_join(owner, "child-1")
    return owner


class ClaimJoinableContract:
    """spec/submissions.md §7.13: the contiguous prefix of the queue behind a running host."""

    def test_s55_queued_dispatches_join_in_order_and_only_once(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        ready(stores, dispatch("child-2"))
        taken = stores.submissions.claim_joinable(owner, "assistant")
        assert [(row.submission_id, row.status, row.joined_into) for row in taken] == [
            ("child-1", "joining", "host-1"),
            ("child-2", "joining", "host-1"),
        ]
        assert taken == [submission(stores, "child-1"), submission(stores, "child-2")]
        assert stores.submissions.claim_joinable(owner, "assistant") == []

    def test_s56_a_stale_or_completed_host_claims_nothing(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        assert stores.submissions.claim_joinable(attempt("host-1", "stale"), "assistant") == []
        assert submission(stores, "child-1").status == "queued"
        stores.submissions.complete(owner)
        assert stores.submissions.claim_joinable(owner, "assistant") == []
        assert submission(stores, "child-1").status == "queued"

    def test_s57_both_kinds_join_in_admission_order(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        ready(stores, direct("child-2"))
        ready(stores, dispatch("child-3"))
        taken = stores.submissions.claim_joinable(owner, "assistant")
        assert [row.submission_id for row in taken] == ["child-1", "child-2", "child-3"]

    def test_s58_an_unready_row_ends_the_prefix(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        admitted(stores, dispatch("child-2"))
        ready(stores, dispatch("child-3"))
        taken = stores.submissions.claim_joinable(owner, "assistant")
        assert [row.submission_id for row in taken] == ["child-1"]
        assert [submission(stores, name).status for name in ("child-2", "child-3")] == ["queued", "queued"]

    def test_s59_a_joined_row_is_reserved_under_the_hosts_attempt(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, direct("child-1"))
        stores.submissions.claim_joinable(owner, "assistant")
        assert stores.submissions.finalize_join(owner, "child-1")
        stale = attempt("child-1", "stale")
        record = settlement(attempt("child-1", "attempt-1"), kind="direct")
        assert stores.submissions.reserve_settlement(stale, record["id"], record) is None
        stores.clock.advance(10)
        assert stores.submissions.reserve_settlement(attempt("child-1", "attempt-1"), record["id"], record) is not None
        reserved = submission(stores, "child-1")
        assert (reserved.status, reserved.attempt_id, reserved.started_at) == ("terminalizing", "attempt-1", stores.clock.now())
        assert reserved.attempt_count == 0
        assert stores.submissions.finalize_settlement(attempt("child-1", "attempt-1"), record["id"]) is True
        assert "error" not in submission(stores, "child-1").to_wire()

    def test_s59b_a_joining_row_cannot_be_reserved(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, direct("child-1"))
        stores.submissions.claim_joinable(owner, "assistant")
        record = settlement(attempt("child-1", "attempt-1"), kind="direct")
        assert stores.submissions.reserve_settlement(attempt("child-1", "attempt-1"), record["id"], record) is None

    def test_s60_an_abort_requested_first_row_blocks_all(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        ready(stores, dispatch("child-2"))
        assert stores.submissions.claim_joinable(owner, "reviewer") == []
        stores.rows.update("flue_agent_submissions", {"submission_id": "child-1"}, abort_requested_at=1)
        assert stores.submissions.claim_joinable(owner, "assistant") == []
        assert [submission(stores, name).status for name in ("child-1", "child-2")] == ["queued", "queued"]

    def test_s60b_a_malformed_row_ends_the_prefix_and_is_not_terminated(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        ready(stores, dispatch("child-2"))
        ready(stores, dispatch("child-3"))
        stores.rows.update("flue_agent_submissions", {"submission_id": "child-2"}, payload="{")
        taken = stores.submissions.claim_joinable(owner, "assistant")
        assert [row.submission_id for row in taken] == ["child-1"]
        (row,) = stores.rows.select("flue_agent_submissions", submission_id="child-2")
        assert (row["status"], row["error"]) == ("queued", None)


class JoinGateContract:
    """spec/submissions.md §7.13: finalize and revert."""

    def test_s61_finalize_is_for_the_hosts_attempt_and_once(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        stores.submissions.claim_joinable(owner, "assistant")
        assert stores.submissions.finalize_join(attempt("host-1", "stale"), "child-1") is False
        assert stores.submissions.finalize_join(owner, "child-1") is True
        joined = submission(stores, "child-1")
        assert joined.status == "joined"
        assert isinstance(joined.input_applied_at, int)
        assert stores.submissions.finalize_join(owner, "child-1") is False
        assert stores.submissions.revert_join(owner, "child-1") is False

    def test_s61b_an_earlier_application_time_is_kept_by_finalize_and_dropped_by_revert(self, stores: Stores) -> None:
        owner = host(stores)
        for child in ("child-1", "child-2"):
            ready(stores, dispatch(child))
        stores.submissions.claim_joinable(owner, "assistant")
        for child in ("child-1", "child-2"):
            stores.rows.update("flue_agent_submissions", {"submission_id": child}, input_applied_at=5)
        assert stores.submissions.finalize_join(owner, "child-1") is True
        assert stores.submissions.revert_join(owner, "child-2") is True
        assert submission(stores, "child-1").input_applied_at == 5
        assert submission(stores, "child-2").input_applied_at is None

    def test_s62_revert_puts_the_delivery_back_into_the_queue(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        before = submission(stores, "child-1")
        stores.submissions.claim_joinable(owner, "assistant")
        assert stores.submissions.revert_join(attempt("host-1", "stale"), "child-1") is False
        assert stores.submissions.revert_join(owner, "child-1") is True
        assert submission(stores, "child-1") == before
        assert not {"joinedInto", "inputAppliedAt"} & set(submission(stores, "child-1").to_wire())

    def test_s63_list_joined_is_in_admission_order(self, stores: Stores) -> None:
        joined_and_joining(stores)
        listed = stores.submissions.list_joined("host-1")
        assert [(row.submission_id, row.status) for row in listed] == [("child-1", "joined"), ("child-2", "joining")]
        assert stores.submissions.list_joined("child-1") == []


class FanOutContract:
    """spec/submissions.md §7.12: what becomes of deliveries when their host settles."""

    def test_s64_completion_settles_joined_and_requeues_joining(self, stores: Stores) -> None:
        assert stores.submissions.complete(joined_and_joining(stores))
        joined, joining = submission(stores, "child-1"), submission(stores, "child-2")
        assert (joined.status, joined.settled_at) == ("settled", stores.clock.now())
        assert "error" not in joined.to_wire()
        assert joined.joined_into == "host-1"
        assert joining.status == "queued"
        assert not {"joinedInto", "inputAppliedAt"} & set(joining.to_wire())

    def test_s65_failure_settles_joined_with_the_hosts_message(self, stores: Stores) -> None:
        assert stores.submissions.fail(joined_and_joining(stores), RuntimeError("host failed"))
        assert (submission(stores, "child-1").status, submission(stores, "child-1").error) == ("settled", "host failed")
        assert submission(stores, "child-2").status == "queued"

    def test_s66_a_finalized_completed_record_settles_joined(self, stores: Stores) -> None:
        owner = joined_and_joining(stores)
        record = settlement(owner)
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is not None
        assert [submission(stores, name).status for name in ("child-1", "child-2")] == ["joined", "joining"]
        assert stores.submissions.finalize_settlement(owner, record["id"])
        assert submission(stores, "child-1").status == "settled"
        assert "error" not in submission(stores, "child-1").to_wire()
        assert submission(stores, "child-2").status == "queued"

    def test_s67_a_joined_row_holds_the_lane_until_its_host_settles(self, stores: Stores) -> None:
        owner = host(stores)
        ready(stores, dispatch("child-1"))
        stores.submissions.claim_joinable(owner, "assistant")
        stores.submissions.finalize_join(owner, "child-1")
        ready(stores, dispatch("later"))
        assert stores.submissions.list_runnable() == []
        assert claimed(stores, "later", "attempt-9") is None
        assert stores.submissions.has_unsettled() is True
        stores.submissions.complete(owner)
        assert [row.submission_id for row in stores.submissions.list_runnable()] == ["later"]

    def test_s68_an_abort_request_reaches_host_and_deliveries(self, stores: Stores) -> None:
        joined_and_joining(stores)
        assert set(stores.submissions.request_abort(SESSION)) == {"host-1", "child-1", "child-2"}

    def test_s68b_requeue_leaves_the_deliveries_with_the_host(self, stores: Stores) -> None:
        owner = joined_and_joining(stores)
        assert stores.submissions.requeue(owner)
        assert [submission(stores, name).status for name in ("child-1", "child-2")] == ["joined", "joining"]
        assert stores.submissions.finalize_join(owner, "child-2") is False
        assert stores.submissions.revert_join(owner, "child-2") is False
