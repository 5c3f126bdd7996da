"""Transitions, durability, attempts and leases: items 15 to 19, 40 to 54, 69, 70 and X7 of the submission contract."""

from __future__ import annotations

from flue_sqla.records import Durability, Lease
from flue_sqla.testing.contracts.examples import (
    LEASE_MS,
    OWNER,
    TIMEOUT_MS,
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


class TransitionContract:
    """spec/submissions.md §7.4, §7.5 and §7.10: every transition is fenced by the attempt."""

    def test_s15_input_applied_is_for_the_owner_only(self, stores: Stores) -> None:
        running(stores, dispatch())
        assert stores.submissions.mark_input_applied(attempt(attempt_id="stale")) is False
        assert submission(stores).input_applied_at is None
        assert stores.submissions.mark_input_applied(attempt()) is True
        stored = submission(stores)
        assert stored.status == "running"
        assert isinstance(stored.input_applied_at, int)

    def test_s16_requeue_works_before_and_after_input_application(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        assert stores.submissions.requeue(attempt(attempt_id="foreign")) is False
        assert stores.submissions.requeue(owner) is True
        assert submission(stores).status == "queued"
        claimed(stores, "dispatch-1", "attempt-2")
        stores.submissions.mark_input_applied(attempt(attempt_id="attempt-2"))
        assert stores.submissions.requeue(attempt(attempt_id="attempt-2")) is True
        stored = submission(stores)
        assert stored.status == "queued"
        assert "inputAppliedAt" not in stored.to_wire()

    def test_s17_has_unsettled_follows_the_submission_to_its_end(self, stores: Stores) -> None:
        ready(stores, dispatch())
        assert stores.submissions.has_unsettled() is True
        claimed(stores, "dispatch-1")
        assert stores.submissions.has_unsettled() is True
        assert len(stores.submissions.list_running()) == 1
        assert stores.submissions.complete(attempt()) is True
        assert stores.submissions.has_unsettled() is False
        assert stores.submissions.list_running() == []

    def test_s18_settled_at_appears_with_settlement(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        assert "settledAt" not in submission(stores).to_wire()
        stores.submissions.complete(owner)
        assert isinstance(submission(stores).settled_at, int)

    def test_s19_the_first_terminal_state_wins(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        assert stores.submissions.complete(attempt(attempt_id="stale")) is False
        assert submission(stores).status == "running"
        assert stores.submissions.fail(owner, RuntimeError("first failure")) is True
        settled = submission(stores)
        assert (settled.status, settled.error) == ("settled", "first failure")
        stores.clock.advance(10)
        assert stores.submissions.complete(owner) is False
        assert stores.submissions.fail(owner, "second failure") is False
        assert submission(stores) == settled

    def test_s19c_the_error_of_a_failure_is_its_message_or_the_text_itself(self, stores: Stores) -> None:
        owner = running(stores, dispatch("dispatch-1"))
        assert stores.submissions.fail(owner, "a plain text") is True
        ready(stores, dispatch("dispatch-2"))
        assert stores.submissions.settle_queued("dispatch-2", "failed", LookupError("an exception")) is True
        assert [submission(stores, name).error for name in ("dispatch-1", "dispatch-2")] == ["a plain text", "an exception"]

    def test_s19b_direct_settlement_is_refused_from_terminalizing(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        record = settlement(owner)
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is not None
        assert stores.submissions.complete(owner) is False
        assert stores.submissions.fail(owner, "too late") is False
        assert stores.submissions.requeue(owner) is False
        assert stores.submissions.mark_input_applied(owner) is False
        assert stores.submissions.replace_attempt(owner, "attempt-2") is None
        assert submission(stores).status == "terminalizing"


class DurabilityContract:
    """spec/submissions.md §7.3, §7.4 and §7.6: attempts and the deadline."""

    def test_s40_a_fresh_row_has_the_default_budget_and_no_deadline(self, stores: Stores) -> None:
        fresh = admitted(stores, dispatch())
        assert (fresh.attempt_count, fresh.max_attempts, fresh.timeout_at) == (0, 10, 0)

    def test_s41_the_first_claim_starts_the_deadline(self, stores: Stores) -> None:
        running(stores, dispatch())
        taken = submission(stores)
        assert (taken.attempt_count, taken.max_attempts) == (1, 10)
        assert taken.timeout_at == stores.clock.now() + TIMEOUT_MS

    def test_s42_a_custom_budget_is_installed_once(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        deadline = stores.clock.now() + 5_000
        assert stores.submissions.mark_input_applied(owner, Durability(max_attempts=5, timeout_at=deadline))
        first = submission(stores)
        assert (first.max_attempts, first.timeout_at) == (5, deadline)
        stores.clock.advance(10)
        assert stores.submissions.mark_input_applied(owner, Durability(max_attempts=7, timeout_at=deadline + 1))
        assert submission(stores) == first

    def test_s42b_without_a_budget_the_defaults_are_installed(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        stores.clock.advance(500)
        assert stores.submissions.mark_input_applied(owner)
        assert (submission(stores).max_attempts, submission(stores).timeout_at) == (10, stores.clock.now() + TIMEOUT_MS)

    def test_s43_a_replacement_is_a_new_attempt(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        stores.submissions.replace_attempt(owner, "attempt-2")
        assert (submission(stores).attempt_count, submission(stores).attempt_id) == (2, "attempt-2")

    def test_s44_a_deadline_survives_requeue_and_reclaim(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        deadline = submission(stores).timeout_at
        stores.submissions.requeue(owner)
        stores.clock.advance(60_000)
        claimed(stores, "dispatch-1", "attempt-2")
        assert (submission(stores).attempt_count, submission(stores).timeout_at) == (2, deadline)

    def test_s44b_a_reclaim_resets_the_attempt_budget(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        stores.submissions.mark_input_applied(owner, Durability(max_attempts=5, timeout_at=stores.clock.now() + 1))
        stores.submissions.requeue(owner)
        assert submission(stores).max_attempts == 5
        claimed(stores, "dispatch-1", "attempt-2")
        assert submission(stores).max_attempts == 10


class ReplacementContract:
    """spec/submissions.md §7.6."""

    def test_s45_replacement_returns_the_running_submission(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        replaced = stores.submissions.replace_attempt(owner, "attempt-2")
        assert replaced is not None
        assert (replaced.status, replaced.attempt_id) == ("running", "attempt-2")
        assert replaced == submission(stores)

    def test_s46_a_stale_attempt_replaces_nothing(self, stores: Stores) -> None:
        running(stores, dispatch())
        assert stores.submissions.replace_attempt(attempt(attempt_id="stale"), "attempt-2") is None
        assert (submission(stores).attempt_id, submission(stores).attempt_count) == ("attempt-1", 1)

    def test_s47_a_given_lease_is_installed(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        lease = Lease(owner_id="next-owner", lease_expires_at=stores.clock.now() + 77)
        replaced = stores.submissions.replace_attempt(owner, "attempt-2", lease)
        assert replaced is not None
        assert (replaced.owner_id, replaced.lease_expires_at) == ("next-owner", lease.lease_expires_at)

    def test_s47b_without_a_lease_the_old_one_stays(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        before = submission(stores)
        replaced = stores.submissions.replace_attempt(owner, "attempt-2")
        assert replaced is not None
        assert (replaced.owner_id, replaced.lease_expires_at) == (before.owner_id, before.lease_expires_at)


class LeaseContract:
    """spec/submissions.md §7.2 and §7.8."""

    def test_s48_the_owner_renews_its_lease(self, stores: Stores) -> None:
        running(stores, dispatch(), lease_expires_at=stores.clock.now() + 5_000)
        stores.submissions.renew_leases(OWNER, ["dispatch-1"])
        assert submission(stores).lease_expires_at == stores.clock.now() + LEASE_MS

    def test_s49_another_owner_renews_nothing(self, stores: Stores) -> None:
        running(stores, dispatch())
        before = submission(stores)
        stores.clock.advance(10)
        stores.submissions.renew_leases("other-owner", ["dispatch-1"])
        assert submission(stores) == before

    def test_s50_renewing_a_settled_row_is_not_an_error(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch()))
        before = submission(stores)
        stores.submissions.renew_leases(OWNER, ["dispatch-1", "never-admitted"])
        assert submission(stores) == before

    def test_s51_a_running_row_with_a_lapsed_lease_is_expired(self, stores: Stores) -> None:
        running(stores, dispatch(), lease_expires_at=1)
        assert [found.submission_id for found in stores.submissions.list_expired()] == ["dispatch-1"]

    def test_s52_a_future_lease_is_not_expired_until_it_has_passed(self, stores: Stores) -> None:
        running(stores, dispatch())
        assert stores.submissions.list_expired() == []
        stores.clock.advance(LEASE_MS)
        assert stores.submissions.list_expired() == []
        stores.clock.advance(1)
        assert [found.submission_id for found in stores.submissions.list_expired()] == ["dispatch-1"]

    def test_s53_a_settled_row_is_not_expired(self, stores: Stores) -> None:
        stores.submissions.complete(running(stores, dispatch(), lease_expires_at=1))
        assert stores.submissions.list_expired() == []

    def test_s54_an_empty_store_has_nothing_expired(self, stores: Stores) -> None:
        assert stores.submissions.list_expired() == []

    def test_s54b_a_row_without_a_lease_never_expires(self, stores: Stores) -> None:
        running(stores, dispatch(), lease_expires_at=0)
        assert stores.submissions.list_expired() == []

    def test_x07_renewing_nothing_does_nothing(self, stores: Stores) -> None:
        running(stores, dispatch(), lease_expires_at=5)
        stores.submissions.renew_leases(OWNER, [])
        assert submission(stores).lease_expires_at == 5

    def test_x07_terminalizing_rows_are_not_renewed(self, stores: Stores) -> None:
        owner = running(stores, dispatch(), lease_expires_at=5)
        record = settlement(owner)
        stores.submissions.reserve_settlement(owner, record["id"], record)
        stores.submissions.renew_leases(OWNER, ["dispatch-1"])
        assert submission(stores).lease_expires_at == 5


class EmptyStoreContract:
    """spec/submissions.md §7.2 with nothing stored."""

    def test_s69_an_empty_store_has_nothing_unsettled(self, stores: Stores) -> None:
        assert stores.submissions.has_unsettled() is False

    def test_s70_an_unknown_id_is_none(self, stores: Stores) -> None:
        assert stores.submissions.get("never-admitted") is None
