"""Removing everything of one instance, by name."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import AttachmentRef, Flue
from flue_sqla.errors import ConversationStreamStoreError, InvalidInputError, SessionBusyError
from flue_sqla.models import tables
from flue_sqla.wire import session_key, stream_path
from tests.databases.contract import Database
from tests.databases.killing import killed_at_every_statement
from tests.retention.work import counts, settled, values
from tests.sessions.documents import document, message, picture
from tests.submissions.inputs import direct, dispatch, run

TABLES = [
    "flue_agent_submissions",
    "flue_agent_turn_journals",
    "flue_agent_stream_chunks",
    "flue_agent_attempt_markers",
    "flue_conversation_streams",
    "flue_conversation_stream_batches",
    "flue_attachments",
    "flue_sessions",
    "flue_session_entries",
    "flue_image_chunks",
    "flue_event_streams",
    "flue_event_stream_entries",
]


def converse(flue: Flue, instance: str, batches: int = 3) -> None:
    """Everything that an instance can have."""
    settled(flue, f"work-{instance}", instance=instance)
    path = stream_path("assistant", instance)
    flue.conversations.create(path, "assistant", instance)
    claim = flue.conversations.acquire_producer(path, "producer")
    for sequence in range(batches):
        flue.conversations.append(
            path,
            producer_id="producer",
            producer_epoch=claim.producer_epoch,
            incarnation=claim.incarnation,
            producer_sequence=sequence,
            records=[{"type": "log", "id": f"record_{sequence}"}],
        )
    flue.attachments.put(path, AttachmentRef.of("a", "text/plain", b"secret"), b"secret", "conv")
    for session in ("default", "side"):
        key = session_key("assistant", instance, "default", session)
        flue.sessions.save(key, document([message("p", None, [picture("A")])]))
    flue.events.create(path)
    flue.events.append(path, "secret")


def test_everything_of_the_named_instance_goes_and_nothing_of_another(flue: Flue) -> None:
    converse(flue, "agent-2")
    others = counts(flue, TABLES)
    converse(flue, "agent-1")
    told = flue.prune(instances=[("assistant", "agent-1")], dry_run=True)
    assert counts(flue, TABLES) == {name: 2 * number for name, number in others.items()}
    done = flue.prune(instances=[("assistant", "agent-1")])
    assert counts(flue, TABLES) == others
    assert done.deleted == told.deleted
    assert {name: done.deleted[name] for name in TABLES} == others
    assert flue.sessions.list_pending_deletions() == []
    assert flue.prune(instances=[("assistant", "agent-1")]).total == 0


def test_the_receipts_that_stay_do_not_say_whose_they_were(flue: Flue) -> None:
    converse(flue, "agent-1")
    flue.prune(instances=[("assistant", "agent-1")])
    assert values(flue, tables.dispatch_receipts.c.session_key) == [None]
    assert flue.submissions.admit_dispatch(dispatch("work-agent-1")).kind == "retained_receipt"


def test_unsettled_work_refuses_and_leaves_everything(flue: Flue) -> None:
    converse(flue, "agent-1")
    attempt = run(flue, "running")
    before = counts(flue, TABLES)
    with pytest.raises(SessionBusyError):
        flue.prune(instances=[("assistant", "agent-1")])
    assert counts(flue, TABLES) == before
    assert flue.sessions.list_pending_deletions() == []
    flue.submissions.complete(attempt)
    flue.prune(instances=[("assistant", "agent-1")])
    assert counts(flue, TABLES) == dict.fromkeys(TABLES, 0)


def test_a_path_that_two_instances_share_is_only_removed_for_its_owner(flue: Flue) -> None:
    flue.conversations.create("agents/a/b/c", "a", "b/c")
    with pytest.raises(InvalidInputError, match="another instance"):
        flue.prune(instances=[("a/b", "c")])
    assert flue.conversations.get_meta("agents/a/b/c") is not None
    flue.prune(instances=[("a", "b/c")])
    assert flue.conversations.get_meta("agents/a/b/c") is None


@pytest.mark.parametrize("name", ["100%", "a_b", 'q"', "é", "a\\b", "!"])
def test_names_with_characters_that_mean_something_to_a_database(flue: Flue, name: str) -> None:
    similar = "x".join(name)
    for instance in (name, similar, name + "x"):
        flue.sessions.save(session_key("assistant", instance), document([]))
        flue.submissions.admit_direct(direct(instance, instance=instance))
        flue.submissions.settle_queued(instance, "failed", "no")
    flue.prune(instances=[("assistant", name)])
    left = {session_key("assistant", instance) for instance in (similar, name + "x")} - {session_key("assistant", name)}
    assert set(values(flue, tables.sessions.c.id)) == set(values(flue, tables.submissions.c.session_key)) == left


def test_a_producer_of_another_process_is_fenced(flue: Flue) -> None:
    converse(flue, "agent-1")
    path = stream_path("assistant", "agent-1")
    claim = flue.conversations.acquire_producer(path, "elsewhere")
    flue.prune(instances=[("assistant", "agent-1")])
    append: dict[str, Any] = {"producer_id": "elsewhere", "producer_epoch": claim.producer_epoch, "incarnation": claim.incarnation}
    with pytest.raises(ConversationStreamStoreError):
        flue.conversations.append(path, **append, producer_sequence=0, records=[{"id": "late"}])


@pytest.mark.faults
def test_killed_at_any_statement_a_rerun_finishes(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flue_sqla.repositories.retention.instances._STEP", 2)
    flue = Flue(migrated.url)
    converse(flue, "agent-2")
    others = counts(flue, TABLES)
    converse(flue, "agent-1")

    def prune(killed: Flue) -> None:
        killed.prune(instances=[("assistant", "agent-1")])

    deaths = 0
    for _ in killed_at_every_statement(migrated.url, prune):
        deaths += 1
        prune(flue)
        assert counts(flue, TABLES) == others
        assert flue.sessions.list_pending_deletions() == []
        with flue.engine.begin() as connection:
            connection.execute(sa.delete(tables.dispatch_receipts))
        converse(flue, "agent-1")
    assert deaths > 30
    flue.close()
