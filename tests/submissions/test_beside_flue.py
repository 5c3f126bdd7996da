"""A Flue server works on the same tables: rows as it writes them, taken over in the middle and given back (spec/lifecycle.md §10)."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Attempt, DispatchInput, Flue, Lease
from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.models.tables import batches, streams, submissions
from flue_sqla.wire import canonical_json
from tests.conversations.streams import append
from tests.submissions.inputs import ACCEPTED_AT, FAR_AWAY, dispatch

ACCEPTED_MS = 1_780_444_800_000
PATH = "agents/assistant/agent-1"
KEY = 'agent-session:["assistant","agent-1","default","default"]'
# As JSON.stringify prints it: keys that look like indices first, numbers in its own forms, one half of a pair escaped, the rest raw.
PAYLOAD = (
    '{"kind":"dispatch","submissionId":"one","agent":"assistant","id":"agent-1","message":{"kind":"user","body":"\\ud800 é\u2028/"},'
    '"initialData":{"1":2,"2":1,"b":1e+21,"a":1e-7,"big":12345678901234567000,"tenth":0.1},"acceptedAt":"2026-06-03T00:00:00.000Z"}'
)
RECORD_ID = "record_dispatch-submission:one:settled"
RECORD = (
    f'{{"v":1,"id":"{RECORD_ID}","type":"submission_settled","conversationId":"conv_1","harness":"default","session":"default",'
    '"timestamp":"2026-06-03T00:00:01.000Z","submissionId":"one","attemptId":"attempt_ours","outcome":"failed",'
    '"error":{"name":"Error","message":"it failed\u2028","n":1e-7}}'
)


def as_flue(flue: Flue, *statements: sa.Executable) -> None:
    with flue.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def admitted_by_flue(flue: Flue) -> None:
    row = {"submission_id": "one", "session_key": KEY, "kind": "dispatch", "payload": PAYLOAD, "status": "queued"}
    as_flue(flue, sa.insert(submissions).values(**row, accepted_at=ACCEPTED_MS))


def changed_by_flue(flue: Flue, **values: Any) -> None:
    as_flue(flue, sa.update(submissions).where(submissions.c.submission_id == "one").values(**values))


def test_what_it_admitted_is_an_exact_replay_for_us(flue: Flue) -> None:
    admitted_by_flue(flue)
    stored = flue.submissions.get("one")
    assert stored is not None
    assert canonical_json(stored.input) == PAYLOAD
    same = DispatchInput(
        submission_id="one",
        agent="assistant",
        id="agent-1",
        message={"kind": "user", "body": "\ud800 é\u2028/"},
        initial_data={"2": 1, "1": 2, "b": 1e21, "a": 1e-7, "big": 12345678901234567000.0, "tenth": 0.1},
        accepted_at=ACCEPTED_AT,
    )
    assert flue.submissions.admit_dispatch(same).submission == stored
    assert flue.submissions.admit_dispatch(dispatch("one")).kind == "conflict"


def test_what_it_left_running_goes_on_here_and_ends_there_or_here(flue: Flue) -> None:
    admitted_by_flue(flue)
    flue.submissions.mark_ready("one")
    claimed = {"attempt_id": "attempt_theirs", "attempt_count": 1, "owner_id": "owner_theirs", "lease_expires_at": ACCEPTED_MS + 30_000}
    changed_by_flue(flue, status="running", started_at=ACCEPTED_MS, timeout_at=ACCEPTED_MS + 3_600_000, **claimed)
    stream = {"path": PATH, "identity_json": '{"agentName":"assistant","instanceId":"agent-1"}', "incarnation": "inc_theirs"}
    theirs = {"producer_id": "owner_theirs", "producer_epoch": 7}
    as_flue(
        flue,
        sa.insert(streams).values(**stream, **theirs, next_producer_sequence=1, next_offset=1),
        sa.insert(batches).values(path=PATH, seq=0, **theirs, producer_sequence=0, data='[{"v":1,"id":"record_1","x":1e+21}]'),
    )

    # Taken over: its lease has run out.
    assert [found.submission_id for found in flue.submissions.list_expired()] == ["one"]
    lease = Lease(owner_id="owner_ours", lease_expires_at=FAR_AWAY)
    ours = flue.submissions.replace_attempt(Attempt(submission_id="one", attempt_id="attempt_theirs"), "attempt_ours", lease)
    assert ours is not None
    assert (ours.attempt_count, ours.timeout_at) == (2, ACCEPTED_MS + 3_600_000)
    attempt = Attempt(submission_id="one", attempt_id="attempt_ours")
    flue.conversations.create(PATH, "assistant", "agent-1")
    claim = flue.conversations.acquire_producer(PATH, "owner_ours")
    assert (claim.producer_epoch, claim.incarnation, claim.next_producer_sequence) == (8, "inc_theirs", 0)
    owned = {"id": "record_2", "submissionId": "one", "attemptId": "attempt_ours"}
    append(flue, claim, owned, submission=attempt)
    page = flue.conversations.read(PATH)
    assert [batch.records for batch in page.batches] == [[{"v": 1, "id": "record_1", "x": 1e21}], [owned]]

    # Reserved there, by the attempt that is ours in its place: the record is taken as it stands, and no other.
    changed_by_flue(flue, status="terminalizing", settlement_record_id=RECORD_ID, settlement_record=RECORD)
    (obligation,) = flue.submissions.list_pending_settlements()
    assert canonical_json(obligation.record) == RECORD
    with pytest.raises(ConversationStreamStoreError, match="no longer owns work"):
        append(flue, claim, {**obligation.record, "outcome": "completed"}, sequence=1, submission=attempt)
    append(flue, claim, obligation.record, sequence=1, submission=attempt)
    assert flue.submissions.finalize_settlement(attempt, obligation.record_id)
    settled = flue.submissions.get("one")
    assert settled is not None
    assert (settled.status, settled.error) == ("settled", "it failed\u2028")


def test_its_acquisition_fences_us(flue: Flue) -> None:
    flue.conversations.create(PATH, "assistant", "agent-1")
    claim = flue.conversations.acquire_producer(PATH, "owner_ours")
    append(flue, claim)
    as_flue(
        flue, sa.update(streams).values(producer_id="owner_theirs", producer_epoch=streams.c.producer_epoch + 1, next_producer_sequence=0)
    )
    for sequence in (0, 1):
        with pytest.raises(ConversationStreamStoreError, match="stale"):
            append(flue, claim, sequence=sequence)
    assert len(flue.conversations.read(PATH).batches) == 1
