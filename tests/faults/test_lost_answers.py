"""The connection breaks after the server committed and before the answer came: one test per row of docs/lost-answers.md."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flue_sqla import AttachmentRef, Attempt, Flue, FlueSettings
from flue_sqla.errors import OutcomeUnknown
from flue_sqla.wire import stream_path
from tests.databases.contract import Database
from tests.direct.at_once import compile_at_once
from tests.faults.proxy import LosingProxy
from tests.submissions.inputs import FAR_AWAY, admit_ready, direct, dispatch, run, status

pytestmark = pytest.mark.databases("postgres", "mariadb")

PATH = stream_path("assistant", "agent-1")
RECORD = {"id": "record-1", "outcome": "completed"}


class Lossy:
    """A Flue behind a losing proxy, with a few submissions in different states."""

    def __init__(self, database: Database) -> None:
        self.proxy = LosingProxy(database.url)
        # Without notifications: their listener would have a connection of its own to lose.
        self.flue = Flue(self.proxy.url, settings=FlueSettings(notify=False))
        self.postgres = database.name == "postgres"

    def during(self, statement: str, call: Callable[[], Any]) -> Any:
        """The result of ``call`` whose first message with ``statement`` (a COMMIT on MariaDB) is carried out but never answered."""
        self.flue.submissions.has_unsettled()  # opens the connection: opening one commits, too
        self.proxy.lose(statement if self.postgres else "COMMIT")
        try:
            return call()
        finally:
            assert self.proxy.lost == 1, "nothing was lost"


@pytest.fixture(params=["ordinarily", "directly"])
def lossy(migrated: Database, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lossy]:
    if request.param == "directly":
        if migrated.name != "postgres":
            pytest.skip("only PostgreSQL's drivers are sent to directly")
        compile_at_once(monkeypatch)
    made = Lossy(migrated)
    yield made
    made.flue.close()
    made.proxy.close()


def test_admit_is_replayed(lossy: Lossy) -> None:
    admitted = lossy.during("INSERT INTO", lambda: lossy.flue.submissions.admit_direct(direct("one")))
    assert admitted == lossy.flue.submissions.get("one")
    assert len(lossy.flue.submissions.list_unready()) == 1


def test_admit_dispatch_is_replayed(lossy: Lossy) -> None:
    admission = lossy.during("INSERT INTO", lambda: lossy.flue.submissions.admit_dispatch(dispatch("one")))
    assert admission.kind == "submission"


def test_mark_ready_is_replayed(lossy: Lossy) -> None:
    lossy.flue.submissions.admit_direct(direct("one"))
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.mark_ready("one")).canonical_ready_at is not None


def test_claim_is_read_again_under_its_own_attempt(lossy: Lossy) -> None:
    admit_ready(lossy.flue, "one")
    claimed = lossy.during(
        "UPDATE", lambda: lossy.flue.submissions.claim("one", attempt_id="mine", owner_id="o", lease_expires_at=FAR_AWAY)
    )
    assert (claimed.attempt_id, claimed.attempt_count) == ("mine", 1)


@pytest.mark.parametrize("limit", [2, 70_000])
def test_claim_next_is_read_again_under_its_own_attempts(lossy: Lossy, limit: int) -> None:
    """Also under more attempts than a statement may have parameters."""
    for n in range(3):
        admit_ready(lossy.flue, f"s{n}", instance=f"i{n}")
    claimed = lossy.during("UPDATE", lambda: lossy.flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=limit))
    expected = [("s0", 1), ("s1", 1), ("s2", 1)][:limit]
    assert [(s.submission_id, s.attempt_count) for s in claimed] == expected
    assert len(lossy.flue.submissions.list_running()) == len(expected)


def test_replace_attempt_is_read_again_under_the_new_attempt(lossy: Lossy) -> None:
    running = run(lossy.flue, "one")
    replaced = lossy.during("UPDATE", lambda: lossy.flue.submissions.replace_attempt(running, "attempt-2"))
    assert (replaced.attempt_id, replaced.attempt_count) == ("attempt-2", 2)


@pytest.mark.parametrize(
    ("settle", "error"),
    [(lambda s, a: s.complete(a), None), (lambda s, a: s.fail(a, "broken"), "broken")],
)
def test_a_settlement_is_read_again(lossy: Lossy, settle: Callable[[Any, Attempt], bool], error: str | None) -> None:
    running = run(lossy.flue, "one")
    assert lossy.during("UPDATE", lambda: settle(lossy.flue.submissions, running)) is True
    settled = lossy.flue.submissions.get("one")
    assert settled is not None
    assert (settled.status, settled.error) == ("settled", error)


def test_reserve_is_replayed_and_finalize_read_again(lossy: Lossy) -> None:
    running = run(lossy.flue, "one")
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.reserve_settlement(running, "record-1", RECORD)) is not None
    lossy.proxy.lost = 0
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.finalize_settlement(running, "record-1")) is True


def test_settle_queued_is_read_again(lossy: Lossy) -> None:
    lossy.flue.submissions.admit_direct(direct("one"))
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.settle_queued("one", "failed", "never ran")) is True


def test_mark_input_applied_and_renew_leases_are_repeated(lossy: Lossy) -> None:
    running = run(lossy.flue, "one")
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.mark_input_applied(running)) is True
    lossy.proxy.lost = 0
    lossy.during("UPDATE", lambda: lossy.flue.submissions.renew_leases("test-owner", ["one"]))


def test_request_abort_is_repeated(lossy: Lossy) -> None:
    admit_ready(lossy.flue, "one")
    key = lossy.flue.submissions.list_runnable()[0].session_key
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.request_abort(key)) == ["one"]


def test_finalize_join_is_read_again(lossy: Lossy) -> None:
    host = run(lossy.flue, "host")
    admit_ready(lossy.flue, "child")
    lossy.flue.submissions.claim_joinable(host, "assistant")
    assert lossy.during("UPDATE", lambda: lossy.flue.submissions.finalize_join(host, "child")) is True


def test_finalize_joins_is_replayed(lossy: Lossy) -> None:
    host = run(lossy.flue, "host")
    for name in ("one", "two"):
        admit_ready(lossy.flue, name)
    lossy.flue.submissions.claim_joinable(host, "assistant")
    assert lossy.during("COMMIT", lambda: lossy.flue.submissions.finalize_joins(host, ["one", "two"])) is True
    assert [status(lossy.flue, name) for name in ("one", "two")] == ["joined", "joined"]


@pytest.mark.parametrize(
    "call",
    [
        lambda s, a: s.requeue(a),
        lambda s, a: s.release(a),
        lambda s, a: s.claim_joinable(a, "assistant"),
    ],
)
def test_what_nothing_can_tell_is_a_typed_error(lossy: Lossy, call: Callable[[Any, Attempt], Any]) -> None:
    running = run(lossy.flue, "one")
    admit_ready(lossy.flue, "child")
    statement = "UPDATE" if call.__code__.co_names[0] == "requeue" else "COMMIT"
    with pytest.raises(OutcomeUnknown) as caught:
        lossy.during(statement, lambda: call(lossy.flue.submissions, running))
    assert caught.value.code == "outcome_unknown"


def test_a_unit_whose_commit_was_lost_is_a_typed_error_and_committed(lossy: Lossy) -> None:
    def unit_of_work() -> None:
        with lossy.flue.begin() as unit:
            unit.submissions.admit_direct(direct("one"))

    with pytest.raises(OutcomeUnknown):
        lossy.during("COMMIT", unit_of_work)
    assert status(lossy.flue, "one") == "queued"


def test_streams(lossy: Lossy) -> None:
    conversations = lossy.flue.conversations
    lossy.during("INSERT INTO", lambda: conversations.create(PATH, "assistant", "agent-1"))
    lossy.proxy.lost = 0
    claim = lossy.during("UPDATE", lambda: conversations.acquire_producer(PATH, "owner"))
    assert claim.producer_epoch == 2, "acquired once more: harmless, the first epoch was never used"
    lossy.proxy.lost = 0
    fence = {"producer_id": "owner", "producer_epoch": 2, "incarnation": claim.incarnation, "producer_sequence": 0}
    offset = lossy.during("INSERT INTO", lambda: conversations.append(PATH, **fence, records=[{"id": "r"}]))
    page = conversations.read(PATH)
    assert [batch.offset for batch in page.batches] == [offset]


def test_attachments_are_put_again(lossy: Lossy) -> None:
    ref = AttachmentRef.of("att", "text/plain", b"0123")
    lossy.during("INSERT INTO", lambda: lossy.flue.attachments.put(PATH, ref, b"0123", "conv"))
    stored = lossy.flue.attachments.get(PATH, "att", "conv")
    assert stored is not None
    assert stored.data == b"0123"


@pytest.mark.databases("postgres")
def test_a_pooled_connection_that_the_server_ended_is_replaced_before_anything_is_sent(migrated: Database) -> None:
    flue = Flue(migrated.url, settings=FlueSettings(notify=False))
    running = run(flue, "one")
    with flue.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        socket = driver.pgconn.socket
    migrated.admin_execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    assert select.select([socket], [], [], 20)[0], "the server has not ended the connection"
    assert flue.submissions.requeue(running) is True, "nothing was sent, so nothing is unknown"
    flue.close()


@pytest.mark.databases("mariadb")
def test_a_settlement_survives_that_its_pooled_connection_was_killed(migrated: Database) -> None:
    flue = Flue(migrated.url)
    running = run(flue, "one")
    for (number,) in migrated.admin_execute(
        "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = database()"
    ):
        migrated.admin_execute(f"KILL {number}")
    assert flue.submissions.complete(running) is True
    flue.close()
