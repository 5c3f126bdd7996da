"""How often each operation goes to PostgreSQL and back, BEGIN and COMMIT included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flue_sqla import AttachmentRef, Attempt, DirectInput, Flue
from flue_sqla.wire import stream_path
from tests.databases.contract import Database
from tests.submissions.inputs import FAR_AWAY, admit_ready, direct, dispatch, run
from tests.submissions.waiting import in_background, until_blocked

pytestmark = pytest.mark.databases("postgres")

PATH = stream_path("assistant", "agent-1")


class Trips:
    """Counts what goes to the server: statements, and the BEGIN and COMMIT around them where there are any."""

    def __init__(self, engine: sa.Engine) -> None:
        self.count = 0
        event.listen(engine, "before_cursor_execute", self._statement)
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._end)
        event.listen(engine, "rollback", self._end)

    def _statement(self, *_: Any) -> None:
        self.count += 1

    def _begin(self, connection: sa.Connection) -> None:
        # In AUTOCOMMIT nothing is sent for the transaction that SQLAlchemy keeps account of.
        self.count += not _autocommit(connection)

    def _end(self, connection: sa.Connection) -> None:
        self.count += not _autocommit(connection)

    @contextmanager
    def at_most(self, budget: int) -> Iterator[None]:
        self.count = 0
        yield
        assert self.count <= budget, f"{self.count} round trips, budget {budget}"


def _autocommit(connection: sa.Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


@pytest.fixture
def trips(flue: Flue) -> Trips:
    return Trips(flue.engine)


def test_admission(flue: Flue, trips: Trips) -> None:
    with trips.at_most(1):
        flue.submissions.admit_direct(direct("one"))
    with trips.at_most(1):
        flue.submissions.admit_dispatch(dispatch("two"))
    with trips.at_most(5):
        flue.submissions.admit_direct(direct("one"))
    with trips.at_most(5):
        assert flue.submissions.admit_dispatch(dispatch("two", "another body")).kind == "conflict"
    with flue.begin() as unit, trips.at_most(2):
        unit.submissions.admit_direct(direct("three"))


def test_admission_while_the_session_is_locked(flue: Flue, migrated: Database, trips: Trips) -> None:
    with flue.begin() as unit:
        unit.submissions.admit_direct(direct("holder"))
        trips.count = 0
        waiting = in_background(flue.submissions.admit_direct, direct("waiter"))
        until_blocked(migrated, waiting)
    waiting.result(20)
    assert trips.count <= 5 + 1, "the holder's own COMMIT is counted too"


@pytest.mark.parametrize(
    "operation",
    [
        lambda s, a: s.mark_ready("queued"),
        lambda s, a: s.claim("ready", attempt_id="x", owner_id="o", lease_expires_at=FAR_AWAY),
        lambda s, a: s.claim_next(owner_id="o", agents=["assistant", "other"], limit=16),
        lambda s, a: s.mark_input_applied(a),
        lambda s, a: s.complete(a),
        lambda s, a: s.fail(a, "no"),
        lambda s, a: s.requeue(a),
        lambda s, a: s.replace_attempt(a, "attempt-2"),
        lambda s, a: s.reserve_settlement(a, "r", {"id": "r", "outcome": "completed"}),
        lambda s, a: s.settle_queued("queued", "failed", "no"),
        lambda s, a: s.get("ready"),
        lambda s, a: s.has_unsettled() or True,
        lambda s, a: s.renew_leases("test-owner", [f"s{n}" for n in range(100)]) or True,
        lambda s, a: s.list_runnable(),
        lambda s, a: s.list_running(),
    ],
)
def test_one_round_trip(flue: Flue, trips: Trips, operation: Callable[[Any, Attempt], Any]) -> None:
    running = run(flue, "running")
    admit_ready(flue, "ready", instance="agent-2")
    flue.submissions.admit_direct(direct("queued", instance="agent-3"))
    with trips.at_most(1):
        assert operation(flue.submissions, running)


def test_finalize_with_children_is_one_round_trip(flue: Flue, trips: Trips) -> None:
    host = run(flue, "host")
    for name in ("joined", "joining"):
        admit_ready(flue, name)
    flue.submissions.claim_joinable(host, "assistant")
    with trips.at_most(1):
        assert flue.submissions.finalize_join(host, "joined")
    flue.submissions.reserve_settlement(host, "r", {"id": "r", "outcome": "completed"})
    with trips.at_most(1):
        assert flue.submissions.finalize_settlement(host, "r")
    assert [s.submission_id for s in flue.submissions.list_runnable()] == ["joining"]


def test_streams_and_attachments(flue: Flue, trips: Trips) -> None:
    running = run(flue, "running")
    data = b"0123"
    ref = AttachmentRef.of("att", "text/plain", data)
    with trips.at_most(1):
        flue.conversations.create(PATH, "assistant", "agent-1")
    with trips.at_most(1):
        claim = flue.conversations.acquire_producer(PATH, "owner")
    append = {"producer_id": "owner", "producer_epoch": claim.producer_epoch, "incarnation": claim.incarnation}
    records = [{"id": "record-1", "submissionId": "running", "attemptId": "attempt-1"}]
    with trips.at_most(1):
        flue.conversations.append(PATH, **append, producer_sequence=0, records=records, submission=running)
    with trips.at_most(1):
        assert flue.conversations.read(PATH).batches
    with trips.at_most(1):
        flue.conversations.get_meta(PATH)
    with trips.at_most(2):
        flue.attachments.put(PATH, ref, data, "conv")
    with trips.at_most(2):
        flue.attachments.put(PATH, ref, data, "conv")
    with trips.at_most(1):
        assert flue.attachments.get(PATH, "att", "conv")


def test_a_whole_life_takes_at_most_twenty(flue: Flue, trips: Trips) -> None:
    with trips.at_most(20):
        live_once(flue, "life", "agent-1")


def live_once(flue: Flue, submission_id: str, instance: str) -> None:
    """One submission with five appends, from admission to outcome."""
    path = stream_path("assistant", instance)
    owner, attempt = "owner", Attempt(submission_id=submission_id, attempt_id="attempt-1")
    flue.submissions.admit_direct(
        DirectInput(submission_id=submission_id, agent="assistant", id=instance, message={"kind": "user", "body": "Hello"})
    )
    flue.conversations.create(path, "assistant", instance)
    flue.submissions.mark_ready(submission_id)
    flue.submissions.claim(submission_id, attempt_id="attempt-1", owner_id=owner, lease_expires_at=FAR_AWAY)
    producer = flue.conversations.acquire_producer(path, owner)
    flue.submissions.mark_input_applied(attempt)
    append: dict[str, Any] = {"producer_id": owner, "producer_epoch": producer.producer_epoch, "incarnation": producer.incarnation}
    owned = {"submissionId": submission_id, "attemptId": "attempt-1"}
    for n in range(5):
        flue.conversations.append(path, **append, producer_sequence=n, records=[{"id": f"record-{n}", **owned}], submission=attempt)
    flue.conversations.read(path)
    settled = {"id": "settled", "type": "submission_settled", **owned, "outcome": "completed"}
    flue.submissions.reserve_settlement(attempt, "settled", settled)
    flue.conversations.append(path, **append, producer_sequence=5, records=[settled], submission=attempt)
    assert flue.submissions.finalize_settlement(attempt, "settled")
    assert flue.submissions.get(submission_id)
