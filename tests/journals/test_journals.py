"""Turn journals beyond the contract: one statement each, units, waiting, and identifiers that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla import Attempt, Flue, Lease
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError, ValueTooLargeError
from flue_sqla.records import UNSET
from flue_sqla.wire import session_key
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.submissions.inputs import run
from tests.submissions.waiting import in_background, until_blocked

KEY = session_key("assistant", "agent-1")


def begin(flue: Flue, attempt: Attempt, **changes: Any) -> None:
    turn = {
        "submission_id": attempt.submission_id,
        "session_key": KEY,
        "kind": "dispatch",
        "attempt_id": attempt.attempt_id,
        "operation_id": "op",
        "turn_id": "turn",
        "phase": "before_provider",
    }
    assert flue.journals.begin(**{**turn, **changes})


@pytest.mark.databases("postgres")
def test_every_operation_is_one_round_trip(flue: Flue) -> None:
    attempt = run(flue, "one")
    traffic = Traffic(flue.engine)
    journals = flue.journals
    moved = Attempt(submission_id="one", attempt_id="attempt-2")
    for call in (
        lambda: begin(flue, attempt, tool_request={"toolCalls": []}),
        lambda: begin(flue, attempt),
        lambda: journals.update_phase(attempt, "provider_started", stream_key="s"),
        lambda: journals.mark_stream_consumed(attempt, "s"),
        lambda: journals.replace_attempt(attempt, "attempt-2", Lease(owner_id="o", lease_expires_at=5)),
        lambda: journals.commit(moved, "leaf"),
        lambda: journals.get("one"),
        lambda: journals.append_segment("s", 0, "[]"),
        lambda: journals.segments("s"),
        lambda: journals.delete_segments("s") or True,
        lambda: journals.insert_marker(moved) or True,
        lambda: journals.list_markers(),
        lambda: journals.delete_marker(moved) or True,
    ):
        with traffic.at_most(1):
            assert call() is not False


@pytest.mark.databases("postgres", "mariadb")
def test_a_phase_that_waited_for_a_replacement_is_refused(flue: Flue, migrated: Database) -> None:
    attempt = run(flue, "one")
    begin(flue, attempt)
    other = Flue(migrated.url)
    with flue.begin() as unit:
        assert unit.journals.replace_attempt(attempt, "attempt-2") is not None
        late = in_background(other.journals.update_phase, attempt, "provider_started")
        until_blocked(migrated, late)
    assert late.result(20) is False
    other.close()
    journal = flue.journals.get("one")
    assert journal is not None
    assert (journal.attempt_id, journal.phase, journal.revision) == ("attempt-2", "before_provider", 2)


def test_a_unit_that_fails_takes_the_journal_with_it(flue: Flue) -> None:
    attempt = run(flue, "one")
    with pytest.raises(LookupError), flue.begin() as unit:  # noqa: PT012
        begin(unit, attempt)  # type: ignore[arg-type]
        assert unit.journals.get("one") is not None
        raise LookupError
    assert flue.journals.get("one") is None


def test_none_overwrites_and_unset_keeps(flue: Flue) -> None:
    attempt = run(flue, "one")
    begin(flue, attempt, checkpoint_leaf_id="leaf", tool_request=None)
    journal = flue.journals.get("one")
    assert journal is not None
    assert (journal.checkpoint_leaf_id, journal.tool_request) == ("leaf", None)
    assert journal.to_wire()["toolRequest"] is None
    flue.journals.update_phase(attempt, "provider_started", checkpoint_leaf_id=None)
    journal = flue.journals.get("one")
    assert journal is not None
    assert (journal.checkpoint_leaf_id, journal.tool_request, journal.stream_key) == (None, None, None)
    begin(flue, attempt)
    journal = flue.journals.get("one")
    assert journal is not None
    assert journal.tool_request is UNSET
    assert "toolRequest" not in journal.to_wire()


def test_what_is_no_journal_is_refused(flue: Flue) -> None:
    attempt = run(flue, "one")
    for changes in ({"phase": "dreaming"}, {"kind": "email"}, {"turn_id": "a\0b"}, {"turn_id": None}, {"tool_request": object()}):
        with pytest.raises(InvalidInputError):
            begin(flue, attempt, **changes)
    with pytest.raises(InvalidInputError):
        flue.journals.append_segment("key", 0, "a\0b")
    for index in (2**31, 1.5, "1", None):
        with pytest.raises(InvalidInputError, match="index"):
            flue.journals.append_segment("key", index, "[]")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="attempt_id"):
        flue.journals.insert_marker(attempt.model_copy(update={"attempt_id": None}))
    with pytest.raises(InvalidInputError, match="lease_expires_at"):
        flue.journals.replace_attempt(attempt, "next", Lease(owner_id="o", lease_expires_at=2**53))
    assert flue.journals.get("one") is None
    assert flue.journals.list_markers() == []
    assert flue.journals.segments("key") == []


@pytest.mark.databases("mariadb")
def test_long_identifiers_are_refused_and_never_cut(flue: Flue) -> None:
    attempt = run(flue, "one")
    for changes in ({"operation_id": "o" * 256}, {"session_key": "s" * 513}, {"checkpoint_leaf_id": "l" * 256}):
        with pytest.raises(ValueTooLargeError):
            begin(flue, attempt, **changes)
    begin(flue, attempt)
    with pytest.raises(ValueTooLargeError):
        flue.journals.commit(attempt, "l" * 256)
    with pytest.raises(ValueTooLargeError):
        flue.journals.append_segment("k" * 513, 0, "[]")


async def test_awaited(aflue: AsyncFlue) -> None:
    attempt = Attempt(submission_id="one", attempt_id="a")
    assert await aflue.journals.begin(
        submission_id="one",
        session_key=KEY,
        kind="direct",
        attempt_id="a",
        operation_id="op",
        turn_id="turn",
        phase="before_provider",
    )
    assert await aflue.journals.commit(attempt, "leaf")
    journal = await aflue.journals.get("one")
    assert journal is not None
    assert journal.committed
