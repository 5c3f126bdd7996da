"""Rows that nobody should have written."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.errors import MalformedRowError
from flue_sqla.models.tables import batches, streams, submissions
from flue_sqla.wire import canonical_json, stream_path
from tests.databases.contract import Database
from tests.submissions.inputs import admit_ready, dispatch, run, status


def damage(flue: Flue, **columns: str) -> None:
    with flue.engine.begin() as connection:
        connection.execute(sa.update(submissions).values(**columns))


def test_a_row_whose_payload_is_no_object_is_a_conflict_for_its_own_admission(flue: Flue, migrated: Database) -> None:
    admit_ready(flue, "one")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = '[]'")
    assert flue.submissions.admit_dispatch(dispatch("one")).kind == "conflict"


@pytest.mark.databases("sqlite")
def test_a_payload_that_is_not_even_text_does_not_block_the_scan(flue: Flue, migrated: Database) -> None:
    admit_ready(flue, "one")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = x'00ff'")
    assert flue.submissions.list_runnable() == []
    assert not flue.submissions.has_unsettled()


@pytest.mark.databases("sqlite")
def test_a_lease_that_is_no_number_is_none(flue: Flue, migrated: Database) -> None:
    run(flue, "one")
    migrated.admin_execute("UPDATE flue_agent_submissions SET lease_expires_at = 'soon'")
    submission = flue.submissions.get("one")
    assert submission is not None
    assert submission.lease_expires_at == 0


@pytest.mark.parametrize("stored", ["{not json", "[" * 100_000], ids=["broken", "deep"])
def test_an_admission_over_a_payload_that_is_no_json_says_so(flue: Flue, stored: str) -> None:
    admit_ready(flue, "one")
    damage(flue, payload=stored)
    with pytest.raises(MalformedRowError):
        flue.submissions.admit_dispatch(dispatch("one"))


@pytest.mark.parametrize("stored", ["not json", "null", "[]", "7", '"text"'])
def test_a_settlement_record_that_is_no_object_is_left_out_and_settles_nothing(flue: Flue, stored: str) -> None:
    attempt = run(flue, "one")
    assert flue.submissions.reserve_settlement(attempt, "record-1", {"id": "record-1", "outcome": "completed"})
    damage(flue, settlement_record=stored)
    assert flue.submissions.list_pending_settlements() == []
    with pytest.raises(MalformedRowError, match="settlement obligation is malformed"):
        flue.submissions.finalize_settlement(attempt, "record-1")
    assert status(flue, "one") == "terminalizing"


@pytest.mark.parametrize("stored", ["not json", "null", "[]", "7", '"text"'])
def test_the_outcome_of_a_row_whose_record_is_no_object_is_what_the_row_says(flue: Flue, stored: str) -> None:
    attempt = run(flue, "one")
    assert flue.submissions.fail(attempt, "gave up")
    damage(flue, settlement_record=stored)
    outcome = flue.wait("one", timeout=5)
    assert (outcome.outcome, outcome.error) == ("failed", "gave up")


def test_the_outcome_of_work_in_a_stream_of_oddities_is_known_all_the_same(flue: Flue) -> None:
    attempt = run(flue, "one")
    assert flue.submissions.complete(attempt)
    path = stream_path("assistant", "agent-1")
    flue.conversations.create(path, "assistant", "agent-1")
    ours = {"submissionId": "one", "messageId": "m"}
    odd = [
        None,
        7,
        "text",
        [],
        {**ours, "type": "assistant_message_started"},
        {**ours, "type": "assistant_text_delta"},
        {**ours, "type": "assistant_text_delta", "delta": 5},
        {**ours, "type": "assistant_text_delta", "delta": "done"},
        {**ours, "type": "assistant_message_completed", "stopReason": "stop"},
        [None],
    ]
    batch = {"path": path, "seq": 0, "producer_id": "p", "producer_epoch": 1, "producer_sequence": 0, "data": canonical_json(odd)}
    with flue.engine.begin() as connection:
        connection.execute(sa.insert(batches).values(batch))
        connection.execute(sa.update(streams).values(next_offset=1))
    outcome = flue.wait("one", timeout=5)
    assert (outcome.outcome, outcome.result) == ("completed", "done")
