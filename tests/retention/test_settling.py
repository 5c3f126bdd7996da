"""A settlement that meets a prune of the same row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from flue_sqla import Attempt, Flue
from flue_sqla.models.tables import dispatch_receipts, submissions
from tests.databases.contract import Database
from tests.retention.work import values
from tests.submissions.inputs import admit_ready, run, status
from tests.submissions.waiting import in_background, until_blocked

RECORD = {"id": "record-1", "outcome": "completed"}
ROUNDS = 15


class Pruning:
    """A prune that stands still, its rows locked and its transaction open, just before it deletes submissions."""

    def __init__(self, url: str) -> None:
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.flue = Flue(url)
        event.listen(self.flue.engine, "before_cursor_execute", self._hold)
        self.report = in_background(self.flue.prune, keep_last=0)
        assert self.arrived.wait(30), "it deletes nothing"

    def _hold(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM flue_agent_submissions"):
            self.arrived.set()
            assert self.go_on.wait(60)

    def finish(self) -> int:
        """Let it go on; how many submissions went."""
        self.go_on.set()
        return self.report.result(60).deleted["flue_agent_submissions"]


@pytest.fixture
def settled(flue: Flue) -> Attempt:
    """A submission that another process has settled, and whose worker does not know it yet."""
    attempt = run(flue, "one")
    assert flue.submissions.complete(attempt)
    return attempt


@pytest.fixture
def pruning(migrated: Database, settled: Attempt) -> Iterator[Pruning]:
    held = Pruning(migrated.url)
    yield held
    held.go_on.set()
    held.flue.close()


def test_a_late_reservation_of_a_row_that_is_going_is_refused(flue: Flue, migrated: Database, settled: Attempt, pruning: Pruning) -> None:
    late = in_background(flue.submissions.reserve_settlement, settled, "record-1", RECORD)
    if migrated.name != "sqlite":  # where the second writer waits for the file, and no server can tell
        until_blocked(migrated, late)
    assert pruning.finish() == 1
    assert late.result(60) is None
    assert values(flue, submissions.c.submission_id) == []
    assert values(flue, dispatch_receipts.c.dispatch_id) == ["one"]


def test_what_is_reserved_meanwhile_is_not_touched(flue: Flue, pruning: Pruning) -> None:
    other = in_background(_settle, flue, "other")
    assert pruning.finish() == 1
    assert other.result(60)
    assert values(flue, submissions.c.submission_id) == ["other"]


def test_a_reservation_is_never_pruned(flue: Flue) -> None:
    attempt = run(flue, "one")
    admit_ready(flue, "child")
    flue.submissions.claim_joinable(attempt, "assistant")
    assert flue.submissions.finalize_join(attempt, "child")
    child = Attempt(submission_id="child", attempt_id=attempt.attempt_id)
    for own, record_id in ((child, "record-child"), (attempt, "record-1")):
        assert flue.submissions.reserve_settlement(own, record_id, {"id": record_id, "outcome": "completed"})
        assert flue.prune(keep_last=0).deleted["flue_agent_submissions"] == 0
    assert [obligation.record_id for obligation in flue.submissions.list_pending_settlements()] == ["record-1", "record-child"]
    assert flue.submissions.finalize_settlement(child, "record-child")
    assert flue.prune(keep_last=0).deleted["flue_agent_submissions"] == 0, "its host is alive"
    assert flue.submissions.finalize_settlement(attempt, "record-1")
    assert status(flue, "child") == "settled"


def test_every_settlement_arrives_however_much_is_pruned_meanwhile(flue: Flue, migrated: Database) -> None:
    """One worker settles, another repeats each reservation, and two prunes remove what is settled at once."""
    over, pruned = threading.Event(), []

    def prune_all_the_time() -> None:
        with Flue(migrated.url) as pruning:
            while not over.is_set():
                pruned.append(pruning.prune(keep_last=0, batch_size=2).deleted["flue_agent_submissions"])

    prunes = [in_background(prune_all_the_time) for _ in range(2)]
    names = [f"s{number}" for number in range(ROUNDS)]
    with Flue(migrated.url) as second, ThreadPoolExecutor(1) as beside:
        try:
            for name in names:
                attempt = run(flue, name, instance=name)
                again = beside.submit(second.submissions.reserve_settlement, attempt, "record-1", RECORD)
                assert flue.submissions.reserve_settlement(attempt, "record-1", RECORD) is not None
                assert flue.submissions.finalize_settlement(attempt, "record-1")
                found = again.result(60)
                assert found is None or found.record == RECORD
        finally:
            over.set()
            for prune in prunes:
                prune.result(60)
    left = values(flue, submissions.c.submission_id)
    assert sum(pruned) == len(names) - len(left)
    assert sorted([*left, *values(flue, dispatch_receipts.c.dispatch_id)]) == sorted(names)


def _settle(flue: Flue, name: str) -> bool:
    attempt = run(flue, name, instance=name)
    assert flue.submissions.reserve_settlement(attempt, "record-1", RECORD) is not None
    return flue.submissions.finalize_settlement(attempt, "record-1")
