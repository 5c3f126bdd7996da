"""A statement keeps the snapshot that it took before it waited: what an append, a creation or an acquisition does after a wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import sqlalchemy as sa

from flue_sqla import Attempt, Flue
from flue_sqla.errors import ConversationStreamStoreError
from tests.conversations.streams import (
    AGENT,
    CONFLICT,
    FIRST,
    INSTANCE,
    NOT_OWNER,
    OUT_OF_SEQUENCE,
    PATH,
    STALE,
    append,
    of,
    owned_stream,
)
from tests.databases.contract import Database
from tests.submissions.inputs import admit_ready, claim, run
from tests.submissions.waiting import in_background, until_blocked

pytestmark = pytest.mark.databases("postgres", "mariadb")


@contextmanager
def held(migrated: Database, table: str, column: str, value: str) -> Iterator[None]:
    """Somebody else has locked a row and lets it go at the end of the block, having changed nothing."""
    engine = sa.create_engine(migrated.url)
    source = sa.table(table, sa.column(column))
    with engine.begin() as connection:
        assert connection.execute(sa.select(source).where(source.c[column] == value).with_for_update()).one()
        yield
    engine.dispose()


def test_an_attempt_that_was_replaced_while_its_append_waited_for_the_stream_is_refused(flue: Flue, migrated: Database) -> None:
    old, producer = run(flue, "host-1"), owned_stream(flue)
    with held(migrated, "flue_conversation_streams", "path", PATH):
        appended = in_background(append, flue, producer, of(old), submission=old)
        until_blocked(migrated, appended)
        assert flue.submissions.replace_attempt(old, "attempt-2") is not None
    with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
        appended.result(20)
    assert flue.conversations.read(PATH).batches == []
    new = Attempt(submission_id="host-1", attempt_id="attempt-2")
    assert append(flue, producer, of(new), submission=new) == FIRST


@pytest.mark.parametrize("settle", ["complete", "requeue"])
def test_work_that_ended_while_its_append_waited_for_the_stream_is_refused(flue: Flue, migrated: Database, settle: str) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    with held(migrated, "flue_conversation_streams", "path", PATH):
        appended = in_background(append, flue, producer, of(attempt), submission=attempt)
        until_blocked(migrated, appended)
        assert getattr(flue.submissions, settle)(attempt) is True
    with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
        appended.result(20)
    assert flue.conversations.read(PATH).batches == []


def test_an_append_that_waits_for_its_submission_is_refused_after_the_replacement_commits(flue: Flue, migrated: Database) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    with flue.begin() as unit:
        unit.submissions.replace_attempt(attempt, "attempt-2")
        appended = in_background(append, flue, producer, of(attempt), submission=attempt)
        until_blocked(migrated, appended)
    with pytest.raises(ConversationStreamStoreError, match=NOT_OWNER):
        appended.result(20)


def test_an_append_that_waits_for_its_submission_succeeds_when_nothing_comes_of_it(flue: Flue, migrated: Database) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    with held(migrated, "flue_agent_submissions", "submission_id", "host-1"):
        appended = in_background(append, flue, producer, of(attempt), submission=attempt)
        until_blocked(migrated, appended)
    assert appended.result(20) == FIRST


def test_work_that_became_ours_while_the_append_waited_is_accepted(flue: Flue, migrated: Database) -> None:
    """The first statement does not see it; the next look does, and then the append happens after all."""
    producer = owned_stream(flue)
    admit_ready(flue, "host-1")
    attempt = Attempt(submission_id="host-1", attempt_id="attempt-1")
    with held(migrated, "flue_conversation_streams", "path", PATH):
        appended = in_background(append, flue, producer, of(attempt), submission=attempt)
        until_blocked(migrated, appended)
        claim(flue, "host-1")
    assert appended.result(20) == FIRST
    assert len(flue.conversations.read(PATH).batches) == 1


def test_a_producer_that_was_replaced_while_its_append_waited_is_stale(flue: Flue, migrated: Database) -> None:
    old = owned_stream(flue)
    with flue.begin() as unit:
        new = unit.conversations.acquire_producer(PATH, "producer-2")
        appended = in_background(append, flue, old)
        until_blocked(migrated, appended)
    with pytest.raises(ConversationStreamStoreError, match=STALE):
        appended.result(20)
    assert append(flue, new) == FIRST


def test_of_two_waiting_acquisitions_each_has_an_epoch_of_its_own(flue: Flue, migrated: Database) -> None:
    owned_stream(flue)
    with flue.begin() as unit:
        first = unit.conversations.acquire_producer(PATH, "producer-1")
        second = in_background(flue.conversations.acquire_producer, PATH, "producer-1")
        until_blocked(migrated, second)
    assert (first.producer_epoch, second.result(20).producer_epoch) == (2, 3)


def test_a_waiting_append_with_the_same_sequence_is_the_same_batch_or_a_conflict(flue: Flue, migrated: Database) -> None:
    producer = owned_stream(flue)
    with flue.begin() as unit:
        append(unit, producer, {"id": "one"})
        same = in_background(append, flue, producer, {"id": "one"})
        other = in_background(append, flue, producer, {"id": "other"})
        until_blocked(migrated, same)
    assert same.result(20) == FIRST
    with pytest.raises(ConversationStreamStoreError, match=CONFLICT):
        other.result(20)
    assert [batch.records for batch in flue.conversations.read(PATH).batches] == [[{"id": "one"}]]


def test_a_waiting_append_is_made_when_the_other_one_rolls_back(flue: Flue, migrated: Database) -> None:
    producer = owned_stream(flue)

    class Regret(Exception):
        pass

    with suppress(Regret), flue.begin() as unit:
        append(unit, producer, {"id": "one"})
        other = in_background(append, flue, producer, {"id": "other"})
        until_blocked(migrated, other)
        raise Regret
    assert other.result(20) == FIRST
    with pytest.raises(ConversationStreamStoreError, match=OUT_OF_SEQUENCE):
        append(flue, producer, sequence=7)


@pytest.mark.parametrize(("agent", "conflicts"), [(AGENT, False), ("other", True)])
def test_a_creation_that_waited_sees_whose_stream_it_is(flue: Flue, migrated: Database, agent: str, conflicts: bool) -> None:
    with flue.begin() as unit:
        unit.conversations.create(PATH, AGENT, INSTANCE)
        created = in_background(flue.conversations.create, PATH, agent, INSTANCE)
        until_blocked(migrated, created)
    if conflicts:
        with pytest.raises(ConversationStreamStoreError, match=r"Stream identity conflicts\."):
            created.result(20)
    else:
        created.result(20)
    meta = flue.conversations.get_meta(PATH)
    assert meta is not None
    assert meta.identity.agent_name == AGENT
