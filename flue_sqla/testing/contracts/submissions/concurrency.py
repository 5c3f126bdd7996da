"""X14 and X16: what two connections may do to each other (spec/submissions.md §9)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla.records import Submission
from flue_sqla.testing.contracts.examples import (
    LEASE_MS,
    OWNER,
    SESSION,
    admitted,
    claimed,
    dispatch,
    ready,
    running,
    settlement,
    submission,
)
from flue_sqla.testing.stores import Stores

ROUNDS = range(5)


class RaceContract:
    """Every gate is decided with its write: two concurrent callers never both succeed."""

    def test_x14_one_of_many_concurrent_claims_wins(self, stores: Stores) -> None:
        for number in ROUNDS:
            name = f"dispatch-{number}"
            ready(stores, dispatch(name, id=name))
            outcomes = stores.concurrently(*(_claim(stores, name, f"attempt-{racer}") for racer in range(6)))
            winners = [outcome.unwrap() for outcome in outcomes if outcome.unwrap() is not None]
            assert len(winners) == 1
            stored = submission(stores, name)
            assert (stored.attempt_id, stored.attempt_count) == (winners[0].attempt_id, 1)

    def test_x14_concurrent_claim_next_hands_out_every_head_once(self, stores: Stores) -> None:
        names = {f"dispatch-{number}" for number in range(12)}
        for name in sorted(names):
            ready(stores, dispatch(name, id=name))

        def drain() -> list[str]:
            taken: list[str] = []
            while found := stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=2):
                taken += [row.submission_id for row in found]
            return taken

        taken = [name for outcome in stores.concurrently(*[drain] * 4) for name in outcome.unwrap()]
        assert len(taken) == len(set(taken))
        # A worker may leave early because others held the rows it saw; nothing may be left behind once all is quiet.
        assert set(taken) | set(drain()) == names

    def test_x14_a_claim_and_the_settlement_of_the_queued_row_exclude_each_other(self, stores: Stores) -> None:
        for number in ROUNDS:
            name = f"dispatch-{number}"
            ready(stores, dispatch(name, id=name))
            claim, settle = stores.concurrently(
                _claim(stores, name, "attempt-1"),
                partial(stores.submissions.settle_queued, name, "failed", "refused"),
            )
            assert (claim.unwrap() is not None) != settle.unwrap()
            assert submission(stores, name).status == ("settled" if settle.unwrap() else "running")

    def test_x14_reserve_and_complete_exclude_each_other(self, stores: Stores) -> None:
        for number in ROUNDS:
            owner = running(stores, dispatch(f"dispatch-{number}", id=f"agent-{number}"))
            record = settlement(owner)
            reserve, complete = stores.concurrently(
                partial(stores.submissions.reserve_settlement, owner, record["id"], record),
                partial(stores.submissions.complete, owner),
            )
            assert (reserve.unwrap() is not None) != complete.unwrap()

    def test_x14_one_of_two_concurrent_finalizations_is_the_one(self, stores: Stores) -> None:
        for number in ROUNDS:
            owner = running(stores, dispatch(f"dispatch-{number}", id=f"agent-{number}"))
            record = settlement(owner)
            stores.submissions.reserve_settlement(owner, record["id"], record)
            finalize = partial(stores.submissions.finalize_settlement, owner, record["id"])
            assert sorted(outcome.unwrap() for outcome in stores.concurrently(finalize, finalize)) == [False, True]

    def test_x14_concurrent_admissions_of_one_id_make_one_row(self, stores: Stores) -> None:
        for number in ROUNDS:
            input = dispatch(f"dispatch-{number}", id=f"agent-{number}")
            outcomes = stores.concurrently(*[partial(stores.submissions.admit_dispatch, input)] * 4)
            assert len({outcome.unwrap().model_dump_json() for outcome in outcomes}) == 1
        assert len(stores.rows.select("flue_agent_submissions")) == len(ROUNDS)

    def test_x14_joining_never_outlives_its_host(self, stores: Stores) -> None:
        for number in ROUNDS:
            host = running(stores, dispatch(f"host-{number}", id=f"agent-{number}"))
            child = f"child-{number}"
            ready(stores, dispatch(child, id=f"agent-{number}"))
            join, complete = stores.concurrently(
                partial(stores.submissions.claim_joinable, host, "assistant"),
                partial(stores.submissions.complete, host),
            )
            join.unwrap()
            assert complete.unwrap() is True
            assert (submission(stores, child).status, submission(stores, child).joined_into) == ("queued", None)
            assert claimed(stores, child, "attempt-2") is not None

    def test_x14_a_finalized_join_is_settled_with_its_host(self, stores: Stores) -> None:
        for number in ROUNDS:
            host = running(stores, dispatch(f"host-{number}", id=f"agent-{number}"))
            child = f"child-{number}"
            ready(stores, dispatch(child, id=f"agent-{number}"))
            stores.submissions.claim_joinable(host, "assistant")
            finalize, fail = stores.concurrently(
                partial(stores.submissions.finalize_join, host, child),
                partial(stores.submissions.fail, host, "host failed"),
            )
            assert fail.unwrap() is True
            assert submission(stores, child).status == ("settled" if finalize.unwrap() else "queued")

    def test_x14_an_expired_attempt_and_its_replacement_exclude_each_other(self, stores: Stores) -> None:
        for number in ROUNDS:
            owner = running(stores, dispatch(f"dispatch-{number}", id=f"agent-{number}"), lease_expires_at=1)
            replace, complete = stores.concurrently(
                partial(stores.submissions.replace_attempt, owner, "attempt-2"),
                partial(stores.submissions.complete, owner),
            )
            assert (replace.unwrap() is not None) != complete.unwrap()


class UncommittedAdmissionContract:
    """X16: on PostgreSQL an uncommitted earlier admission must not be overtaken (spec/submissions.md §9.1)."""

    def test_x16_admission_waits_for_an_earlier_one_of_its_session(self, stores: Stores) -> None:
        if stores.profile != "postgres" or stores.run_on_connection is None:
            pytest.skip("only PostgreSQL assigns the sequence before the row becomes visible")
        later = _Thread(lambda: admitted(stores, dispatch("dispatch-2")))

        def earlier(connection: sa.Connection) -> bool:
            # What an admission holds between its insert and its commit: the session's advisory lock and a lower sequence.
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": SESSION})
            later.start()
            waiting = sa.text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            while later.is_alive():
                if connection.execute(waiting).scalar_one():
                    return True
            return False

        assert stores.run_on_connection(earlier) is True, "the admission did not wait for the session's lock"
        assert later.result().submission_id == "dispatch-2"

    def test_x16_admissions_of_other_sessions_do_not_wait(self, stores: Stores) -> None:
        if stores.profile != "postgres" or stores.run_on_connection is None:
            pytest.skip("only PostgreSQL takes an advisory lock")

        def earlier(connection: sa.Connection) -> None:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": SESSION})
            admitted(stores, dispatch("other", id="agent-2"))

        stores.run_on_connection(earlier)


def _claim(stores: Stores, submission_id: str, attempt_id: str) -> Callable[[], Any]:
    lease = stores.clock.now() + LEASE_MS
    return partial(stores.submissions.claim, submission_id, attempt_id=attempt_id, owner_id=OWNER, lease_expires_at=lease)


class _Thread(threading.Thread):
    """A thread whose result, or error, can be asked for."""

    def __init__(self, work: Callable[[], Submission]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._outcome: Submission | BaseException | None = None

    def run(self) -> None:
        try:
            self._outcome = self._work()
        except BaseException as error:
            self._outcome = error

    def result(self) -> Submission:
        self.join(timeout=60)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None, "still waiting"
        return self._outcome
