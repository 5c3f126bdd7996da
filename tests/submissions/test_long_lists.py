"""More ids at once than one statement may have parameters: SQLite takes 32,766, the PostgreSQL drivers 65,535."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from flue_sqla import Attempt, Flue
from flue_sqla.models.tables import submissions
from flue_sqla.wire import parse_offset, session_key, stream_path
from tests.databases.contract import Database
from tests.databases.numbers import insert_many, numbers, text_of
from tests.databases.traffic import Traffic
from tests.submissions.inputs import ACCEPTED_AT, run

LONG = {"sqlite": 33_000, "postgres": 66_000, "mariadb": 33_000}
PATH = stream_path("assistant", "agent-1")


@pytest.fixture
def long(database: Database, flue: Flue) -> int:
    """More than one statement takes."""
    if database.name == "sqlite":
        # What SQLite is built with everywhere but on Debian, which raises it.
        event.listen(flue.engine, "checkout", lambda connection, *_: _limit(connection))
    return LONG[database.name]


def _limit(connection: Any) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)


@pytest.fixture
def held(flue: Flue) -> list[Attempt]:
    """Three running submissions."""
    return [run(flue, f"held-{number}", instance=str(number)) for number in range(3)]


def _among(held: list[Attempt], long: int) -> list[str]:
    """Their ids at the begin, in the middle and at the end of so many."""
    ids = [f"unknown-{number:05}" for number in range(long)]
    first, middle, last = (attempt.submission_id for attempt in held)
    return [first, *ids[: long // 2], middle, *ids[long // 2 :], last]


def test_all_leases_are_renewed(flue: Flue, held: list[Attempt], long: int) -> None:
    flue.submissions.renew_leases("test-owner", _among(held, long), lease_expires_at=4_100_000_000_000)
    for attempt in held:
        submission = flue.submissions.get(attempt.submission_id)
        assert submission is not None
        assert submission.lease_expires_at == 4_100_000_000_000


def test_all_holdings_are_told(flue: Flue, held: list[Attempt], long: int) -> None:
    found = flue.submissions.holdings(_among(held, long))
    assert {name: holding.attempt_id for name, holding in found.items()} == {attempt.submission_id: "attempt-1" for attempt in held}


def test_a_short_list_is_one_statement(flue: Flue, held: list[Attempt]) -> None:
    ids = _among(held, 400)
    traffic = Traffic(flue.engine)
    flue.submissions.renew_leases("test-owner", ids)
    flue.submissions.holdings(ids)
    assert len(traffic.statements) == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_that_wait_join_and_are_answered_in_one_batch(flue: Flue, long: int) -> None:
    host = run(flue, "host")
    _queue_behind(flue, long)
    joining = flue.submissions.claim_joinable(host, "assistant")
    assert len(joining) == long
    assert (joining[0].submission_id, joining[-1].submission_id) == ("later-000000", f"later-{long - 1:06}")
    with flue.engine.connect() as connection:
        statement = sa.select(sa.func.count()).where(submissions.c.status == "joining", submissions.c.joined_into == "host")
        assert connection.execute(statement).scalar_one() == long
    flue.conversations.create(PATH, "assistant", "agent-1")
    claim = flue.conversations.acquire_producer(PATH, "test-owner")
    records = [{"id": f"r{n}", "submissionId": child.submission_id, "attemptId": host.attempt_id} for n, child in enumerate(joining)]
    offset = flue.conversations.append(
        PATH,
        producer_id=claim.producer_id,
        producer_epoch=claim.producer_epoch,
        incarnation=claim.incarnation,
        producer_sequence=claim.next_producer_sequence,
        records=records,
        submission=host,
    )
    assert parse_offset(offset) == 0


def _queue_behind(flue: Flue, count: int) -> None:
    """So many ready dispatches in the session of ``agent-1``."""
    source, number, below = numbers(count)
    submission_id = sa.literal("later-") + text_of(number, 6)
    payload = (
        sa.literal('{"kind":"dispatch","submissionId":"')
        + submission_id
        + sa.literal('","agent":"assistant","id":"agent-1","message":{"kind":"user","body":"x"},"acceptedAt":"' + ACCEPTED_AT + '"}')
    )
    accepted_at = sa.literal(1_780_444_800_000, sa.BigInteger())
    values = {
        "submission_id": submission_id,
        "session_key": sa.literal(session_key("assistant", "agent-1")),
        "kind": sa.literal("dispatch"),
        "payload": payload,
        "status": sa.literal("queued"),
        "accepted_at": accepted_at,
        "canonical_ready_at": accepted_at,
    }
    with flue.engine.begin() as connection:
        rows = sa.select(*values.values()).select_from(source).where(below).order_by(number)
        insert_many(connection, sa.insert(submissions).from_select(list(values), rows))
