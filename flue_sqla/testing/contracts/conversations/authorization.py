"""Who may append records of a submission: items 12 to 18 of the conversation contract (spec/streams.md §3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla.records import Attempt, ProducerClaim
from flue_sqla.testing.contracts.conversations.examples import (
    AGENT,
    INSTANCE,
    append,
    created,
    message,
    rejected,
    stored_batches,
)
from flue_sqla.testing.contracts.examples import attempt, dispatch, ready, running, settlement
from flue_sqla.testing.stores import Stores

NO_AUTHORIZATION = "Submission-owned records require"
MISMATCH = "Record ownership does not match the authorized submission attempt."
NOT_OWNER = "Submission attempt no longer owns work for this agent instance."


def echo(submission_id: str = "dispatch-1") -> Any:
    return dispatch(submission_id, agent=AGENT, id=INSTANCE)


def owned(owner: Attempt, number: int = 1) -> dict[str, Any]:
    return message(number, submissionId=owner.submission_id, attemptId=owner.attempt_id)


def started(stores: Stores) -> tuple[ProducerClaim, Attempt]:
    return created(stores), running(stores, echo())


class AuthorizationContract:
    """The stream is written only by the attempt that owns the work."""

    def test_c12_while_terminalizing_only_the_reserved_record_is_accepted(self, stores: Stores) -> None:
        claim, owner = started(stores)
        record = settlement(owner)
        assert stores.submissions.reserve_settlement(owner, record["id"], record) is not None
        with rejected(NOT_OWNER):
            append(stores, claim, [record, owned(owner)], submission=owner)
        with rejected(NOT_OWNER):
            append(stores, claim, [{**record, "outcome": "failed"}], submission=owner)
        with rejected():
            append(stores, claim, [record], submission=attempt(attempt_id="stale"))
        # Unowned records cannot be mixed in either, and the text counts, not the meaning.
        with rejected(NOT_OWNER):
            append(stores, claim, [record, message(2)], submission=owner)
        with rejected(NOT_OWNER):
            append(stores, claim, [dict(reversed(record.items()))], submission=owner)
        assert append(stores, claim, [record], submission=owner) == "0000000000000000_0000000000000000"

    def test_c13_an_owned_record_under_the_running_attempt_is_accepted(self, stores: Stores) -> None:
        claim, owner = started(stores)
        append(stores, claim, [owned(owner), message(2)], submission=owner)
        assert stored_batches(stores) == [[owned(owner), message(2)]]

    def test_c14_a_submission_of_another_agent_is_refused(self, stores: Stores) -> None:
        claim = created(stores)
        owner = running(stores, dispatch(agent="other", id=INSTANCE))
        with rejected(NOT_OWNER):
            append(stores, claim, [owned(owner)], submission=owner)
        assert stored_batches(stores) == []

    def test_c15_a_stale_attempt_is_refused(self, stores: Stores) -> None:
        claim, _ = started(stores)
        stale = attempt(attempt_id="stale")
        with rejected(NOT_OWNER):
            append(stores, claim, [owned(stale)], submission=stale)
        assert stored_batches(stores) == []

    def test_c16_an_unknown_submission_is_refused(self, stores: Stores) -> None:
        claim = created(stores)
        with rejected(NOT_OWNER):
            append(stores, claim, [owned(attempt("nobody"))], submission=attempt("nobody"))
        assert stored_batches(stores) == []

    def test_c17_a_host_appends_for_a_delivery_while_joining_and_after(self, stores: Stores) -> None:
        claim, host = started(stores)
        ready(stores, echo("child-1"))
        stores.submissions.claim_joinable(host, AGENT)
        delivery = attempt("child-1", host.attempt_id)
        append(stores, claim, [owned(delivery, 1)], submission=host)
        assert stores.submissions.finalize_join(host, "child-1")
        append(stores, claim, [owned(delivery, 2), owned(host, 3)], sequence=1, submission=host)
        assert len(stored_batches(stores)) == 2

    def test_c18_a_host_may_not_append_for_an_unclaimed_delivery(self, stores: Stores) -> None:
        claim, host = started(stores)
        ready(stores, echo("child-1"))
        with rejected(MISMATCH):
            append(stores, claim, [owned(attempt("child-1", host.attempt_id))], submission=host)
        assert stored_batches(stores) == []

    @pytest.mark.parametrize("owner", [{"submissionId": "dispatch-1"}, {"attemptId": "attempt-1"}])
    def test_x08_owned_records_need_an_authorization(self, stores: Stores, owner: dict[str, str]) -> None:
        claim, _ = started(stores)
        with rejected(NO_AUTHORIZATION):
            append(stores, claim, [message(1, **owner)])

    @pytest.mark.parametrize(
        "owner",
        [
            {"submissionId": "dispatch-1"},
            {"attemptId": "attempt-1"},
            {"submissionId": "dispatch-2", "attemptId": "attempt-1"},
            {"submissionId": "dispatch-1", "attemptId": "attempt-2"},
        ],
    )
    def test_x08_every_owned_record_must_be_the_authorized_attempts(self, stores: Stores, owner: dict[str, str]) -> None:
        claim, authorized = started(stores)
        with rejected(MISMATCH):
            append(stores, claim, [message(1, **owner)], submission=authorized)

    def test_x08_a_delivery_of_another_host_is_not_ours(self, stores: Stores) -> None:
        claim, host = started(stores)
        other = running(stores, dispatch("host-2", agent=AGENT, id="elsewhere"))
        ready(stores, dispatch("child-2", agent=AGENT, id="elsewhere"))
        stores.submissions.claim_joinable(other, AGENT)
        with rejected(MISMATCH):
            append(stores, claim, [owned(attempt("child-2", host.attempt_id))], submission=host)

    def test_x08_a_delivery_with_a_settlement_of_its_own_is_no_longer_the_hosts(self, stores: Stores) -> None:
        claim, host = started(stores)
        ready(stores, echo("child-1"))
        stores.submissions.claim_joinable(host, AGENT)
        stores.submissions.finalize_join(host, "child-1")
        delivery = attempt("child-1", host.attempt_id)
        record = settlement(delivery)
        assert stores.submissions.reserve_settlement(delivery, record["id"], record) is not None
        with rejected(MISMATCH):
            append(stores, claim, [owned(delivery)], submission=host)
        append(stores, claim, [record], submission=delivery)

    def test_x08_queued_settled_and_requeued_work_is_not_owned(self, stores: Stores) -> None:
        claim, owner = started(stores)
        stores.submissions.requeue(owner)
        with rejected(NOT_OWNER):
            append(stores, claim, [owned(owner)], submission=owner)
        stores.submissions.settle_queued("dispatch-1", "failed", "no")
        with rejected(NOT_OWNER):
            append(stores, claim, [message()], submission=owner)

    def test_x08_a_replaced_attempt_is_refused_and_its_successor_accepted(self, stores: Stores) -> None:
        claim, owner = started(stores)
        stores.submissions.replace_attempt(owner, "attempt-2")
        with rejected(NOT_OWNER):
            append(stores, claim, [owned(owner)], submission=owner)
        successor = attempt(attempt_id="attempt-2")
        append(stores, claim, [owned(successor)], submission=successor)

    def test_x08_a_retry_must_carry_the_same_authorization(self, stores: Stores) -> None:
        claim, owner = started(stores)
        first = append(stores, claim, [message()], submission=owner)
        with rejected("Producer sequence has conflicting content."):
            append(stores, claim, [message()])
        with rejected("Producer sequence has conflicting content."):
            append(stores, claim, [message()], submission=attempt(attempt_id="attempt-2"))
        assert append(stores, claim, [message()], submission=owner) == first

    def test_x08_a_retry_is_recognised_after_the_work_has_ended(self, stores: Stores) -> None:
        claim, owner = started(stores)
        first = append(stores, claim, [owned(owner)], submission=owner)
        stores.submissions.complete(owner)
        assert append(stores, claim, [owned(owner)], submission=owner) == first

    def test_x08_a_key_that_only_looks_like_an_address_owns_nothing(self, stores: Stores) -> None:
        claim, owner = started(stores)
        for key in ('agent-session:["contract","default","default"]', "echo", f'agent-session:["{AGENT}","other","default","default"]'):
            stores.rows.update("flue_agent_submissions", {"submission_id": "dispatch-1"}, session_key=key)
            with rejected(NOT_OWNER):
                append(stores, claim, [owned(owner)], submission=owner)
