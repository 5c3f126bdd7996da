"""A statement keeps the snapshot that it took before it waited. Each place where that could lose or double work, on two connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait

import pytest
import sqlalchemy as sa

from flue_sqla import Attempt, Flue, Submission, Unit
from flue_sqla.dialects import implementation
from flue_sqla.errors import MalformedRowError, SessionDeletionError
from flue_sqla.models.tables import submissions
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.submission_removal import remove_submissions
from tests.databases.contract import Database
from tests.submissions.inputs import FAR_AWAY, admit_ready, claim, direct, dispatch, run, status
from tests.submissions.waiting import in_background, until_blocked

pytestmark = pytest.mark.databases("postgres", "mariadb")

PICTURE = {"type": "image", "data": "AAEC", "mimeType": "image/png"}
RECORD = {"id": "record-1", "outcome": "failed", "error": {"message": "the host failed"}}


def _complete(flue: Flue, host: Attempt) -> bool:
    return flue.submissions.complete(host)


def _fail(flue: Flue, host: Attempt) -> bool:
    return flue.submissions.fail(host, "the host failed")


def _finalize(flue: Flue, host: Attempt) -> bool:
    return flue.submissions.finalize_settlement(host, "record-1")


@pytest.mark.parametrize("settle", [_complete, _fail])
def test_a_settlement_that_waited_for_claim_joinable_gives_the_child_back(
    flue: Flue, migrated: Database, settle: Callable[[Flue, Attempt], bool]
) -> None:
    host = run(flue, "host-1")
    admit_ready(flue, "child-1")
    with flue.begin() as unit:
        assert [joined.submission_id for joined in unit.submissions.claim_joinable(host, "assistant")] == ["child-1"]
        settled = in_background(settle, flue, host)
        until_blocked(migrated, settled)
    assert settled.result(20) is True
    assert status(flue, "host-1") == "settled"
    assert status(flue, "child-1") == "queued"
    assert claim(flue, "child-1", "attempt-2")


def test_a_reservation_that_waited_for_claim_joinable_settles_the_child_with_its_host(flue: Flue, migrated: Database) -> None:
    host = run(flue, "host-1")
    admit_ready(flue, "child-1")
    with flue.begin() as unit:
        unit.submissions.claim_joinable(host, "assistant")
        reserved = in_background(flue.submissions.reserve_settlement, host, "record-1", RECORD)
        until_blocked(migrated, reserved)
    assert reserved.result(20) is not None
    assert flue.submissions.finalize_settlement(host, "record-1") is True
    assert status(flue, "child-1") == "queued"


@pytest.mark.parametrize("settle", [_complete, _fail, _finalize])
def test_a_settlement_that_waited_for_finalize_join_settles_the_child(
    flue: Flue, migrated: Database, settle: Callable[[Flue, Attempt], bool]
) -> None:
    host = run(flue, "host-1")
    admit_ready(flue, "child-1")
    flue.submissions.claim_joinable(host, "assistant")
    with flue.begin() as unit:
        assert unit.submissions.finalize_join(host, "child-1") is True
        if settle is _finalize:
            reserved = in_background(flue.submissions.reserve_settlement, host, "record-1", RECORD)
            until_blocked(migrated, reserved)
        else:
            settled = in_background(settle, flue, host)
            until_blocked(migrated, settled)
    if settle is _finalize:
        assert reserved.result(20) is not None
        assert flue.submissions.finalize_settlement(host, "record-1") is True
    else:
        assert settled.result(20) is True
    child = flue.submissions.get("child-1")
    assert child is not None
    assert (child.status, child.error) == ("settled", None if settle is _complete else "the host failed")


def test_finalize_join_that_waited_for_a_settlement_is_refused(flue: Flue, migrated: Database) -> None:
    host = run(flue, "host-1")
    admit_ready(flue, "child-1")
    flue.submissions.claim_joinable(host, "assistant")
    with flue.begin() as unit:
        assert unit.submissions.complete(host) is True
        joined = in_background(flue.submissions.finalize_join, host, "child-1")
        until_blocked(migrated, joined)
    assert joined.result(20) is False
    assert status(flue, "child-1") == "queued"


def test_a_child_is_not_reserved_under_an_attempt_that_was_replaced_while_waiting(flue: Flue, migrated: Database) -> None:
    host = run(flue, "host-1")
    admit_ready(flue, "child-1")
    flue.submissions.claim_joinable(host, "assistant")
    flue.submissions.finalize_join(host, "child-1")
    with flue.begin() as unit:
        assert unit.submissions.replace_attempt(host, "attempt-2") is not None
        record = {"id": "record-2", "outcome": "completed"}
        child = Attempt(submission_id="child-1", attempt_id="attempt-1")
        reserved = in_background(flue.submissions.reserve_settlement, child, "record-2", record)
        until_blocked(migrated, reserved)
    assert reserved.result(20) is None
    assert status(flue, "child-1") == "joined"


def test_an_admission_waits_for_an_earlier_one_of_its_session(flue: Flue, migrated: Database) -> None:
    with flue.begin() as unit:
        first = unit.submissions.admit_direct(direct("first"))
        later = in_background(flue.submissions.admit_direct, direct("later"))
        until_blocked(migrated, later)
        elsewhere = flue.submissions.admit_direct(direct("elsewhere", instance="agent-2"))
        assert elsewhere.status == "queued"
    assert later.result(20).sequence > first.sequence
    flue.submissions.mark_ready("later")
    assert flue.submissions.claim("later", attempt_id="a", owner_id="o", lease_expires_at=FAR_AWAY) is None


def test_an_admission_sees_the_deletion_marker_that_it_waited_for(flue: Flue, migrated: Database) -> None:
    from flue_sqla.models.tables import session_deletions
    from flue_sqla.wire import session_key

    key = session_key("assistant", "agent-1")
    with flue.engine.connect() as connection, connection.begin():
        unit = flue.bind(connection)
        unit.submissions.admit_direct(direct("holder"))  # holds the session's lock
        connection.execute(sa.insert(session_deletions).values(session_key=key, started_at=1))
        late = in_background(flue.submissions.admit_direct, direct("late"))
        until_blocked(migrated, late)
    with pytest.raises(SessionDeletionError):
        late.result(20)
    assert flue.submissions.get("late") is None


def test_a_malformed_head_is_queued_as_before_when_its_claim_raises(flue: Flue, migrated: Database) -> None:
    host = run(flue, "bad")
    flue.submissions.mark_input_applied(host, None)
    flue.submissions.requeue(host)
    before = flue.submissions.get("bad")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = '{}' WHERE submission_id = 'bad'")
    with pytest.raises(MalformedRowError):
        flue.submissions.claim("bad", attempt_id="attempt-2", owner_id="test-owner", lease_expires_at=FAR_AWAY)
    row = migrated.admin_execute(
        "SELECT status, attempt_id, started_at, owner_id, lease_expires_at, attempt_count, max_attempts, timeout_at "
        "FROM flue_agent_submissions WHERE submission_id = 'bad'"
    )[0]
    assert before is not None
    assert row == ("queued", None, None, None, 0, before.attempt_count, before.max_attempts, before.timeout_at)


def test_claim_next_settles_a_malformed_head_and_returns_the_others(flue: Flue, migrated: Database) -> None:
    for name in ("bad", "good", "behind-bad"):
        admit_ready(flue, name, instance="agent-2" if name == "good" else "agent-1")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = '{}' WHERE submission_id = 'bad'")
    claimed = flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=5)
    assert [submission.submission_id for submission in claimed] == ["good"]
    error = migrated.admin_execute("SELECT status, error FROM flue_agent_submissions WHERE submission_id = 'bad'")[0]
    assert error == ("settled", "[flue] Persisted agent submission payload is malformed.")
    assert [s.submission_id for s in flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=5)] == ["behind-bad"]


@pytest.mark.databases("postgres", "mariadb", "sqlite")
def test_children_of_a_host_that_was_settled_without_them_are_repaired(flue: Flue, migrated: Database) -> None:
    host = run(flue, "host-1")
    for name in ("joined", "joining"):
        admit_ready(flue, name)
    flue.submissions.claim_joinable(host, "assistant")
    flue.submissions.finalize_join(host, "joined")
    migrated.admin_execute("UPDATE flue_agent_submissions SET status = 'settled', error = 'lost' WHERE submission_id = 'host-1'")
    assert flue.submissions.claim_next(owner_id="o", agents=["assistant"]) == []
    assert flue.submissions.repair_joins() == 2
    assert flue.submissions.repair_joins() == 0
    child = flue.submissions.get("joined")
    assert child is not None
    assert (child.status, child.error) == ("settled", "lost")
    assert [s.submission_id for s in flue.submissions.claim_next(owner_id="o", agents=["assistant"])] == ["joining"]


def test_a_redelivery_that_meets_a_prune_does_not_run_again(flue: Flue) -> None:
    host = run(flue, "one")
    flue.submissions.complete(host)
    with flue.engine.connect() as connection, connection.begin():
        executor = Executor(connection)
        remove_submissions(executor, implementation(flue.engine.dialect), ["one"], kept_until=FAR_AWAY)
        again = in_background(flue.submissions.admit_dispatch, dispatch("one"))
        # PostgreSQL answers from its snapshot at once; MariaDB waits for the prune.
        wait([again], timeout=0.5)
    admission = again.result(20)
    assert admission.kind == "retained_receipt" or (admission.submission is not None and admission.submission.status == "settled")
    assert flue.submissions.get("one") is None
    assert flue.submissions.admit_dispatch(dispatch("one")).kind == "retained_receipt"


def test_racing_admissions_of_one_id_make_one_submission(flue: Flue) -> None:
    futures = [in_background(flue.submissions.admit_dispatch, dispatch("one")) for _ in range(8)]
    admissions = [future.result(30) for future in futures]
    assert {admission.kind for admission in admissions} == {"submission"}
    assert len({admission.submission.sequence for admission in admissions if admission.submission}) == 1


@pytest.fixture
def older(migrated: Database) -> Iterator[sa.Connection]:
    """A host's connection in MySQL's default isolation, to take a snapshot on."""
    host = sa.create_engine(migrated.url, isolation_level="REPEATABLE READ")
    with host.connect() as connection, connection.begin():
        yield connection
    host.dispose()


def _take_snapshot(connection: sa.Connection) -> None:
    connection.execute(sa.select(submissions)).all()


def _marks_ready(unit: Unit) -> Submission | None:
    return unit.submissions.mark_ready("queued")


def _replaces(unit: Unit) -> Submission | None:
    return unit.submissions.replace_attempt(Attempt(submission_id="running", attempt_id="attempt-1"), "attempt-2")


def _replaces_with_its_journal(unit: Unit) -> Submission | None:
    return unit.journals.replace_attempt(Attempt(submission_id="running", attempt_id="attempt-1"), "attempt-2")


def _admits_again(unit: Unit) -> Submission | None:
    return unit.submissions.admit_dispatch(dispatch("queued", attachments=[PICTURE])).submission


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize("change", [_marks_ready, _replaces, _replaces_with_its_journal, _admits_again])
def test_what_changes_a_row_sees_its_images_in_an_older_snapshot_too(
    flue: Flue, older: sa.Connection, change: Callable[[Unit], Submission | None]
) -> None:
    """What a locking statement has changed is seen there, and what came with it is not."""
    _take_snapshot(older)
    for submission_id in ("running", "queued"):
        flue.submissions.admit_dispatch(dispatch(submission_id, attachments=[PICTURE]))
        flue.submissions.mark_ready(submission_id)
    claim(flue, "running")
    changed = change(flue.bind(older))
    assert changed is not None
    assert changed.input["message"]["attachments"] == [PICTURE]


@pytest.mark.databases("mariadb")
def test_what_joins_is_seen_with_its_images_in_an_older_snapshot_too(flue: Flue, older: sa.Connection) -> None:
    host = run(flue, "host-1")
    _take_snapshot(older)
    flue.submissions.admit_dispatch(dispatch("child", attachments=[PICTURE]))
    flue.submissions.mark_ready("child")
    joined = flue.bind(older).submissions.claim_joinable(host, "assistant")
    assert [submission.input["message"]["attachments"] for submission in joined] == [[PICTURE]]
