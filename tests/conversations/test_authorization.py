"""Whose work a batch may carry, for names that make the session key and the stored identity hard to compare."""

from __future__ import annotations

import json

import pytest

from flue_sqla import Attempt, Flue
from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.wire import session_key, stream_path
from tests.conversations.streams import AGENT, FIRST, INSTANCE, NOT_OWNER, PATH, append, of, owned_stream
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.submissions.inputs import run

NAMES = [
    ("assistant", "agent-1"),
    ("a,b", "c"),
    ('a","b', "c"),
    ("a", 'b","c'),
    ('"', '"'),
    ("\\", '\\"'),
    ('x","instanceId":"y', "z"),
    ("x", 'y","instanceId":"z'),
    ("per%cent", "under_score"),
    ("Zoë \U0001f916", "line\u2028separator"),
    ("tab\t", "newline\n"),
]


@pytest.mark.parametrize(("agent", "instance"), NAMES)
def test_an_instance_writes_its_own_stream_and_no_other(flue: Flue, agent: str, instance: str) -> None:
    attempt = run(flue, "own", agent=agent, instance=instance)
    path = stream_path(agent, instance)
    assert append(flue, owned_stream(flue, agent=agent, instance=instance), of(attempt), submission=attempt, path=path) == FIRST
    for number, (other_agent, other_instance) in enumerate(NAMES):
        if (other_agent, other_instance) == (agent, instance):
            continue
        # The path says nothing about whose the stream is; its stored identity does.
        other_path = f"agents/of-others/{number}"
        flue.conversations.create(other_path, other_agent, other_instance)
        producer = flue.conversations.acquire_producer(other_path, "producer-1")
        with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
            append(flue, producer, of(attempt), submission=attempt, path=other_path)


def test_the_text_comparison_is_the_fast_way_for_every_name(flue: Flue) -> None:
    traffic = Traffic(flue.engine)
    for number, (agent, instance) in enumerate(NAMES):
        attempt = run(flue, f"s{number}", agent=agent, instance=instance)
        producer = owned_stream(flue, agent=agent, instance=instance)
        with traffic.measured():
            append(flue, producer, of(attempt), submission=attempt, path=stream_path(agent, instance))
        if flue.dialect.single_statement:
            assert traffic.trips == 1, (agent, instance)


@pytest.mark.parametrize(
    ("key", "writes"),
    [
        (session_key(AGENT, INSTANCE, "other", "lane"), True),
        (f'agent-session: [ "{AGENT}" , "{INSTANCE}" , "default" , "default" ]', True),
        (f'agent-session:["{AGENT}","{INSTANCE}","default"]', False),
        (f'agent-session:["{AGENT}","{INSTANCE}","default","default","more"]', False),
        (f'agent-session:["{AGENT}","{INSTANCE}","default",1]', False),
        (f'agent-session:["{AGENT}","{INSTANCE}","default","default"', False),
        (f'["{AGENT}","{INSTANCE}","default","default"]', False),
    ],
)
def test_every_key_of_four_parts_counts_and_no_other(flue: Flue, migrated: Database, key: str, writes: bool) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    mark = "?" if migrated.name == "sqlite" else "%s"
    migrated.admin_execute(f"UPDATE flue_agent_submissions SET session_key = {mark} WHERE submission_id = {mark}", (key, "host-1"))
    if writes:
        assert append(flue, producer, of(attempt), submission=attempt) == FIRST
    else:
        with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
            append(flue, producer, of(attempt), submission=attempt)


def test_an_identity_that_another_implementation_wrote_is_read_as_json(flue: Flue, migrated: Database) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    mark = "?" if migrated.name == "sqlite" else "%s"
    foreign = json.dumps({"instanceId": INSTANCE, "agentName": AGENT})
    migrated.admin_execute(f"UPDATE flue_conversation_streams SET identity_json = {mark} WHERE path = {mark}", (foreign, PATH))
    assert append(flue, producer, of(attempt), submission=attempt) == FIRST


def test_the_reserved_settlement_is_compared_as_text(flue: Flue) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    record = of(attempt, type="submission_settled", outcome="completed", note="Zoë \U0001f916 \0 \ud800")
    assert flue.submissions.reserve_settlement(attempt, record["id"], record) is not None
    for other in ({**record, "outcome": "failed"}, dict(reversed(record.items())), {**record, "id": "record_1"}):
        with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
            append(flue, producer, other, submission=attempt)
    with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
        append(flue, producer, record, {"id": "unowned"}, submission=attempt)
    assert append(flue, producer, record, submission=attempt) == FIRST


def test_records_without_an_owner_still_need_the_authorized_attempt(flue: Flue) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
        append(flue, producer, submission=Attempt(submission_id="host-1", attempt_id="stale"))
    assert append(flue, producer, submission=attempt) == FIRST
