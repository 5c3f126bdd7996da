"""Identifiers and values that a database cannot hold, or cannot tell from others: a clear error, and never a wrong row."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import Any

import pytest

from flue_sqla import Attempt, Durability, Flue, Lease
from flue_sqla.errors import InvalidInputError, ValueTooLargeError
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.submissions.inputs import FAR_AWAY, admit_ready, direct, run, status

RECORD = {"id": "record-1", "outcome": "completed"}
PACKET = "max_allowed_packet"


def _claim(flue: Flue, submission_id: str, **change: Any) -> Any:
    return flue.submissions.claim(submission_id, **{"attempt_id": "a", "owner_id": "o", "lease_expires_at": FAR_AWAY, **change})


BY_ID: dict[str, Callable[[Flue, Any], Any]] = {
    "get": lambda flue, key: flue.submissions.get(key),
    "mark_ready": lambda flue, key: flue.submissions.mark_ready(key),
    "claim": _claim,
    "claim, attempt": lambda flue, key: _claim(flue, "one", attempt_id=key),
    "claim, owner": lambda flue, key: _claim(flue, "one", owner_id=key),
    "claim_next, owner": lambda flue, key: flue.submissions.claim_next(owner_id=key, agents=["assistant"]),
    "settle_queued": lambda flue, key: flue.submissions.settle_queued(key, "failed", "error"),
    "list_joined": lambda flue, key: flue.submissions.list_joined(key),
    "request_abort": lambda flue, key: flue.submissions.request_abort(key),
    "renew_leases": lambda flue, key: flue.submissions.renew_leases("o", [key]),
    "renew_leases, owner": lambda flue, key: flue.submissions.renew_leases(key, ["one"]),
    "holdings": lambda flue, key: flue.submissions.holdings([key]),
    "settled_row": lambda flue, key: flue.submissions.settled_row(key),
    "has_receipt": lambda flue, key: flue.submissions.has_receipt(key),
}
BY_ATTEMPT: dict[str, Callable[[Flue, Attempt], Any]] = {
    "mark_input_applied": lambda flue, attempt: flue.submissions.mark_input_applied(attempt),
    "requeue": lambda flue, attempt: flue.submissions.requeue(attempt),
    "release": lambda flue, attempt: flue.submissions.release(attempt),
    "replace_attempt": lambda flue, attempt: flue.submissions.replace_attempt(attempt, "next"),
    "reserve_settlement": lambda flue, attempt: flue.submissions.reserve_settlement(attempt, "record-1", RECORD),
    "finalize_settlement": lambda flue, attempt: flue.submissions.finalize_settlement(attempt, "record-1"),
    "complete": lambda flue, attempt: flue.submissions.complete(attempt),
    "fail": lambda flue, attempt: flue.submissions.fail(attempt, "error"),
    "claim_joinable": lambda flue, attempt: flue.submissions.claim_joinable(attempt, "assistant"),
    "finalize_join": lambda flue, attempt: flue.submissions.finalize_join(attempt, "one"),
    "revert_join": lambda flue, attempt: flue.submissions.revert_join(attempt, "one"),
}
NO_KEYS = [0, None, b"one", "nul \0", "lone \ud800 surrogate"]


@pytest.mark.parametrize("key", NO_KEYS, ids=repr)
@pytest.mark.parametrize("operation", BY_ID)
def test_what_is_no_identifier_is_refused_before_any_statement(flue: Flue, operation: str, key: Any) -> None:
    admit_ready(flue, "one")
    traffic = Traffic(flue.engine)
    with pytest.raises(InvalidInputError):
        BY_ID[operation](flue, key)
    assert traffic.statements == []


@pytest.mark.parametrize("part", ["submission_id", "attempt_id"])
@pytest.mark.parametrize("operation", BY_ATTEMPT)
def test_an_attempt_that_no_column_holds_is_refused_before_any_statement(flue: Flue, operation: str, part: str) -> None:
    attempt = run(flue, "one")
    traffic = Traffic(flue.engine)
    for key in NO_KEYS:
        with pytest.raises(InvalidInputError):
            BY_ATTEMPT[operation](flue, attempt.model_copy(update={part: key}))
    assert traffic.statements == []
    assert status(flue, "one") == "running"


@pytest.mark.parametrize("number", [2**53, 2**70, -(2**53), 1.5, True, "1", None], ids=repr)
def test_times_are_integers_that_javascript_holds(flue: Flue, number: Any) -> None:
    attempt = run(flue, "running", instance="busy")
    admit_ready(flue, "one")
    for call in (
        lambda: _claim(flue, "one", lease_expires_at=number),
        lambda: flue.submissions.replace_attempt(attempt, "next", Lease.model_construct(owner_id="o", lease_expires_at=number)),
        lambda: flue.submissions.mark_input_applied(attempt, Durability.model_construct(max_attempts=3, timeout_at=number)),
        lambda: flue.submissions.mark_input_applied(attempt, Durability.model_construct(max_attempts=number, timeout_at=0)),
    ):
        with pytest.raises(InvalidInputError, match="must be an integer"):
            call()
    assert status(flue, "one") == "queued"


def test_a_budget_that_its_column_cannot_hold_is_refused(flue: Flue) -> None:
    attempt = run(flue, "one")
    with pytest.raises(InvalidInputError, match="max_attempts"):
        flue.submissions.mark_input_applied(attempt, Durability(max_attempts=2**31, timeout_at=0))
    assert flue.submissions.mark_input_applied(attempt, Durability(max_attempts=2**31 - 1, timeout_at=2**53 - 1))
    submission = flue.submissions.get("one")
    assert submission is not None
    assert (submission.max_attempts, submission.timeout_at) == (2**31 - 1, 2**53 - 1)


@pytest.mark.parametrize("limit", [1.5, "1", 2**31, True])
def test_a_limit_is_a_whole_number(flue: Flue, limit: Any) -> None:
    admit_ready(flue, "one")
    with pytest.raises(InvalidInputError, match="limit"):
        flue.submissions.list_runnable(limit)
    with pytest.raises(InvalidInputError, match="limit"):
        flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=limit)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_nothing(flue: Flue, limit: int) -> None:
    admit_ready(flue, "one")
    assert flue.submissions.list_runnable(limit) == []
    assert flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=limit) == []


@pytest.mark.databases("sqlite", "postgres")
def test_an_identifier_of_any_length_is_found_or_not_found(flue: Flue) -> None:
    long = "x" * 100_000
    assert flue.submissions.get(long) is None
    assert flue.submissions.mark_ready(long) is None
    assert flue.submissions.admit_direct(direct("x" * 300)).submission_id == "x" * 300
    assert flue.submissions.get("x" * 299) is None


@pytest.mark.databases("postgres")
def test_an_identifier_that_no_index_entry_holds_is_a_clear_error(flue: Flue) -> None:
    dice = random.Random(1)
    long = "".join(dice.choices(string.ascii_letters + string.digits, k=20_000))  # too random for compression to help
    for submission in (direct(long), direct("two", instance=long)):
        with pytest.raises(ValueTooLargeError, match="too long for its index"):
            flue.submissions.admit_direct(submission)
        with flue.begin() as unit, pytest.raises(ValueTooLargeError, match="too long for its index"):
            unit.submissions.admit_direct(submission)
    assert not flue.submissions.has_unsettled()


@pytest.mark.databases("mariadb")
class TestKeysOnMySQL:
    """Columns are bounded there, and texts are compared as if the shorter one ended with blanks."""

    LONGEST = "i" * 255

    @pytest.mark.parametrize("operation", BY_ID)
    def test_an_over_long_identifier_is_a_clear_error_and_never_cut(self, flue: Flue, operation: str) -> None:
        admit_ready(flue, self.LONGEST)
        key = self.LONGEST + "i" if operation != "request_abort" else "i" * 513
        with pytest.raises(ValueTooLargeError, match="at most"):
            BY_ID[operation](flue, key)
        assert status(flue, self.LONGEST) == "queued"

    @pytest.mark.parametrize("part", ["submission_id", "attempt_id"])
    @pytest.mark.parametrize("operation", BY_ATTEMPT)
    def test_an_over_long_attempt_is_a_clear_error_and_never_cut(self, flue: Flue, operation: str, part: str) -> None:
        attempt = run(flue, self.LONGEST, attempt_id=self.LONGEST)
        with pytest.raises(ValueTooLargeError, match="at most"):
            BY_ATTEMPT[operation](flue, attempt.model_copy(update={part: self.LONGEST + "i"}))
        assert status(flue, self.LONGEST) == "running"

    def test_over_long_names_are_not_admitted(self, flue: Flue) -> None:
        with pytest.raises(ValueTooLargeError, match="submission_id has 256 characters"):
            flue.submissions.admit_direct(direct("s" * 256))
        with pytest.raises(ValueTooLargeError, match="session_key"):
            flue.submissions.admit_direct(direct("one", instance="i" * 512))
        assert not flue.submissions.has_unsettled()

    @pytest.mark.parametrize("operation", BY_ID)
    def test_a_blank_at_the_end_is_not_overlooked(self, flue: Flue, operation: str) -> None:
        admit_ready(flue, "one")
        with pytest.raises(InvalidInputError, match="ends with a blank"):
            BY_ID[operation](flue, "one ")
        assert status(flue, "one") == "queued"

    def test_paths_that_differ_by_a_blank_are_not_one_stream(self, flue: Flue) -> None:
        flue.conversations.create("agents/assistant/x", "assistant", "x")
        for call in (
            lambda: flue.conversations.read("agents/assistant/x "),
            lambda: flue.conversations.acquire_producer("agents/assistant/x ", "p"),
            lambda: flue.attachments.get("agents/assistant/x ", "att_1", "conv_1"),
            lambda: flue.attachments.get("agents/assistant/x", "att_1 ", "conv_1"),
        ):
            with pytest.raises(InvalidInputError, match="ends with a blank"):
                call()


@pytest.mark.databases("mariadb")
class TestPacketOnMySQL:
    """Above ``max_allowed_packet`` the server closes the connection, which would look like a lost answer."""

    @pytest.mark.parametrize("operation", ["admit", "fail", "settle_queued", "reserve_settlement", "finalize_settlement"])
    def test_a_value_above_the_packet_is_refused_before_its_statement(self, flue: Flue, migrated: Database, operation: str) -> None:
        big = "☃" * (6 * 1024 * 1024)
        attempt = run(flue, "one")
        admit_ready(flue, "queued")
        if operation == "finalize_settlement":
            assert flue.submissions.reserve_settlement(attempt, "record-1", {"id": "record-1", "outcome": "failed"})
        calls: dict[str, Callable[[], Any]] = {
            "admit": lambda: flue.submissions.admit_direct(direct("big", body=big)),
            "fail": lambda: flue.submissions.fail(attempt, big),
            "settle_queued": lambda: flue.submissions.settle_queued("queued", "failed", big),
            "reserve_settlement": lambda: flue.submissions.reserve_settlement(attempt, "record-1", {"id": "record-1", "text": big}),
            "finalize_settlement": lambda: flue.submissions.finalize_settlement(attempt, "record-1", big),
        }
        before = migrated.admin_execute("SELECT * FROM flue_agent_submissions")
        with pytest.raises(ValueTooLargeError, match=PACKET) as caught:
            calls[operation]()
        assert caught.value.meta["setting"] == PACKET
        assert caught.value.meta["size"] > caught.value.meta["limit"]
        assert migrated.admin_execute("SELECT * FROM flue_agent_submissions") == before
