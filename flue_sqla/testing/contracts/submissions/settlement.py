"""The settlement outbox: items 33 to 39, X3 and X4 of the submission contract."""

from __future__ import annotations

import pytest

from flue_sqla.testing.contracts.examples import (
    admitted,
    attempt,
    canonical_session,
    direct,
    dispatch,
    ready,
    running,
    settlement,
    submission,
)
from flue_sqla.testing.stores import Stores


class SettlementContract:
    """spec/submissions.md §7.9: reserve the record, append it, finalize the row."""

    def test_s33_the_owner_reserves_and_a_stale_attempt_does_not(self, stores: Stores) -> None:
        owner = running(stores, direct())
        record = settlement(owner, kind="direct")
        assert stores.submissions.reserve_settlement(attempt("direct-1", "stale"), record["id"], record) is None
        obligation = stores.submissions.reserve_settlement(owner, record["id"], record)
        assert obligation is not None
        assert obligation.to_wire() == {
            "submissionId": "direct-1",
            "sessionKey": canonical_session("assistant", "agent-1"),
            "attemptId": "attempt-1",
            "recordId": record["id"],
            "record": record,
        }
        assert submission(stores, "direct-1").status == "terminalizing"

    def test_s34_an_exact_repeat_is_a_retry_and_other_content_is_refused(self, stores: Stores) -> None:
        owner = running(stores, direct())
        record = settlement(owner, kind="direct")
        first = stores.submissions.reserve_settlement(owner, record["id"], record)
        assert first is not None
        assert stores.submissions.reserve_settlement(owner, record["id"], record) == first
        assert stores.submissions.reserve_settlement(owner, record["id"], {**record, "outcome": "failed"}) is None
        # The comparison is of the stored text, so another key order is another record.
        assert stores.submissions.reserve_settlement(owner, record["id"], dict(reversed(record.items()))) is None

    def test_s35_a_terminalizing_row_is_unsettled_but_neither_runnable_running_nor_expired(self, stores: Stores) -> None:
        owner = running(stores, direct(), lease_expires_at=1)
        ready(stores, direct("direct-2"))
        record = settlement(owner, kind="direct")
        stores.submissions.reserve_settlement(owner, record["id"], record)
        assert stores.submissions.has_unsettled() is True
        assert stores.submissions.list_runnable() == []
        assert stores.submissions.list_running() == []
        assert stores.submissions.list_expired() == []

    def test_s36_the_obligation_is_pending_until_it_is_finalized(self, stores: Stores) -> None:
        owner = running(stores, direct())
        record = settlement(owner, kind="direct")
        obligation = stores.submissions.reserve_settlement(owner, record["id"], record)
        assert stores.submissions.list_pending_settlements() == [obligation]
        assert stores.submissions.finalize_settlement(owner, record["id"]) is True
        assert stores.submissions.list_pending_settlements() == []
        assert stores.submissions.has_unsettled() is False

    def test_s37_a_dispatch_obligation_is_listed_too(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        obligation = stores.submissions.reserve_settlement(owner, record["id"], record)
        assert obligation is not None
        assert stores.submissions.list_pending_settlements() == [obligation]

    def test_s37b_obligations_are_listed_in_admission_order(self, stores: Stores) -> None:
        for number in (2, 1, 3):
            owner = running(stores, dispatch(f"dispatch-{number}", id=f"agent-{number}"))
            stores.submissions.reserve_settlement(owner, f"r-{number}", {"id": f"r-{number}", "outcome": "completed"})
        listed = [obligation.submission_id for obligation in stores.submissions.list_pending_settlements()]
        assert listed == ["dispatch-2", "dispatch-1", "dispatch-3"]

    def test_s38_a_dispatch_settles_through_the_outbox(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        assert stores.submissions.reserve_settlement(attempt(attempt_id="stale"), record["id"], record) is None
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is not None
        assert submission(stores).status == "terminalizing"
        assert stores.submissions.finalize_settlement(owner, record["id"]) is True
        assert submission(stores).status == "settled"
        assert "error" not in submission(stores).to_wire()

    def test_s39_the_given_message_is_the_error_of_a_failed_record(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner, "failed")
        stores.submissions.reserve_settlement(owner, record["id"], record)
        assert stores.submissions.finalize_settlement(owner, record["id"], error_message="the model refused") is True
        assert submission(stores).error == "the model refused"


class ReserveGateContract:
    """X3: everything that reserve refuses."""

    def test_x03_the_record_must_carry_the_reserved_id(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        assert stores.submissions.reserve_settlement(owner, "another-id", settlement(owner)) is None
        assert submission(stores).status == "running"

    def test_x03_a_running_row_without_an_owner_reserves_nothing(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        stores.rows.update("flue_agent_submissions", {"submission_id": "dispatch-1"}, owner_id=None)
        record = settlement(owner)
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is None

    def test_x03_a_running_row_that_already_holds_a_record_reserves_nothing(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        stores.rows.update("flue_agent_submissions", {"submission_id": "dispatch-1"}, settlement_record_id="older")
        record = settlement(owner)
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is None
        assert submission(stores).status == "running"

    def test_x03_what_another_attempt_reserved_is_taken(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        stores.submissions.reserve_settlement(owner, record["id"], record)
        assert stores.submissions.reserve_settlement(attempt(attempt_id="attempt-2"), record["id"], record) is None
        assert submission(stores).attempt_id == "attempt-1"

    def test_x03_queued_settled_and_unknown_rows_reserve_nothing(self, stores: Stores) -> None:
        ready(stores, dispatch())
        record = settlement(attempt())
        assert stores.submissions.reserve_settlement(attempt(), record["id"], record) is None
        stores.submissions.settle_queued("dispatch-1", "failed", "no")
        assert stores.submissions.reserve_settlement(attempt(), record["id"], record) is None
        assert stores.submissions.reserve_settlement(attempt("never-admitted"), record["id"], record) is None

    def test_x03_a_finalized_settlement_cannot_be_reserved_again(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        stores.submissions.reserve_settlement(owner, record["id"], record)
        stores.submissions.finalize_settlement(owner, record["id"])
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is None

    def test_x03_reserve_leaves_owner_and_lease_and_stores_canonical_text(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        before = submission(stores)
        record = {**settlement(owner), "outcome": "failed", "error": {"message": "Zoë", "meta": {"ratio": 1.0, "2": [], "1": {}}}}
        stores.clock.advance(10)
        obligation = stores.submissions.reserve_settlement(owner, record["id"], record)
        after = submission(stores)
        assert (after.owner_id, after.lease_expires_at) == (before.owner_id, before.lease_expires_at)
        assert (after.started_at, after.attempt_count) == (before.started_at, before.attempt_count)
        (row,) = stores.rows.select("flue_agent_submissions")
        assert row["settlement_record_id"] == record["id"]
        assert row["settlement_record"].endswith('"error":{"message":"Zoë","meta":{"1":{},"2":[],"ratio":1}}}')
        assert obligation is not None
        assert list(obligation.record["error"]["meta"]) == ["1", "2", "ratio"]


class FinalizeContract:
    """X4: who finalizes, and which error the row and its joined deliveries end up with."""

    def test_x04_only_the_reserving_attempt_and_record_finalize_and_only_once(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        assert stores.submissions.finalize_settlement(owner, record["id"]) is False
        stores.submissions.reserve_settlement(owner, record["id"], record)
        assert stores.submissions.finalize_settlement(attempt(attempt_id="stale"), record["id"]) is False
        assert stores.submissions.finalize_settlement(owner, "another-id") is False
        assert submission(stores).status == "terminalizing"
        assert stores.submissions.finalize_settlement(owner, record["id"]) is True
        settled = submission(stores)
        stores.clock.advance(10)
        assert stores.submissions.finalize_settlement(owner, record["id"]) is False
        assert submission(stores) == settled
        (row,) = stores.rows.select("flue_agent_submissions")
        assert row["settlement_record_id"] == record["id"]

    @pytest.mark.parametrize(
        ("outcome", "record_error", "given", "stored"),
        [
            ("completed", {"message": "from the record"}, "given", None),
            ("completed", None, None, None),
            ("failed", {"message": "from the record"}, "given", "given"),
            ("failed", {"message": "from the record"}, None, "from the record"),
            ("failed", None, None, "The submission did not complete."),
            ("aborted", None, None, "The submission did not complete."),
            ("aborted", {"message": "stopped"}, None, "stopped"),
        ],
    )
    def test_x04_error_precedence_and_its_fan_out(
        self, stores: Stores, outcome: str, record_error: dict[str, str] | None, given: str | None, stored: str | None
    ) -> None:
        host = running(stores, dispatch("host-1"))
        ready(stores, dispatch("child-1"))
        stores.submissions.claim_joinable(host, "assistant")
        stores.submissions.finalize_join(host, "child-1")
        record = settlement(host, outcome, error=record_error)
        stores.submissions.reserve_settlement(host, record["id"], record)
        assert stores.submissions.finalize_settlement(host, record["id"], error_message=given) is True
        assert [submission(stores, name).error for name in ("host-1", "child-1")] == [stored, stored]
        assert [submission(stores, name).status for name in ("host-1", "child-1")] == ["settled", "settled"]

    def test_x04_a_reserved_child_is_left_to_its_own_settlement(self, stores: Stores) -> None:
        host = running(stores, dispatch("host-1"))
        ready(stores, direct("child-1"))
        stores.submissions.claim_joinable(host, "assistant")
        stores.submissions.finalize_join(host, "child-1")
        owner = attempt("child-1", host.attempt_id)
        record = settlement(owner, kind="direct")
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is not None
        assert stores.submissions.fail(host, "host failed") is True
        assert submission(stores, "child-1").status == "terminalizing"
        assert stores.submissions.finalize_settlement(owner, record["id"]) is True
        assert "error" not in submission(stores, "child-1").to_wire()
        assert submission(stores, "child-1").joined_into == "host-1"

    def test_x04_an_admitted_row_is_not_pending(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        assert stores.submissions.list_pending_settlements() == []
