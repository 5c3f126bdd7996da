"""``delete_tree``: three phases, one marker, and what a crash leaves."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Attempt, Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError, SessionBusyError
from flue_sqla.models import tables
from flue_sqla.testing.clock import ManualClock
from flue_sqla.wire import keyed_submission_id, session_key
from tests.databases.contract import Database
from tests.databases.killing import killed_at_every_statement
from tests.sessions.documents import KEY, chain, document, message, picture
from tests.submissions.inputs import direct, dispatch, run
from tests.submissions.waiting import in_background

KEYED = keyed_submission_id("assistant", "agent-1", "key")
OTHER_KEY = session_key("assistant", "agent-2")


def count(flue: Flue, table: sa.Table, *where: Any) -> int:
    with flue.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one())


def settle(flue: Flue, name: str, **address: str) -> None:
    """A settled dispatch with a journal and a buffered segment."""
    attempt = run(flue, name, **address)
    key = session_key("assistant", address.get("instance", "agent-1"))
    begin_journal(flue, attempt, key)
    assert flue.submissions.complete(attempt)


def begin_journal(flue: Flue, attempt: Attempt, key: str) -> None:
    flue.journals.begin(
        submission_id=attempt.submission_id,
        session_key=key,
        kind="dispatch",
        attempt_id=attempt.attempt_id,
        operation_id="op",
        turn_id="turn",
        phase="before_provider",
    )
    stream = f"{attempt.submission_id}:turn:{attempt.attempt_id}"
    flue.journals.update_phase(attempt, "provider_started", stream_key=stream)
    flue.journals.append_segment(stream, 0, "[]")
    flue.journals.insert_marker(attempt)


def test_the_default_callback_deletes_the_documents_of_the_tree(flue: Flue) -> None:
    task, invocation = str(uuid.uuid4()), str(uuid.uuid4())
    child = session_key("assistant", "agent-1", "default", f"task:default:{task}")
    grandchild = session_key("assistant", "agent-1", f"default:action:{invocation}", "inner")
    unrelated = session_key("assistant", "agent-1", "default", "else")
    references = [
        {"type": "task", "session": f"task:default:{task}", "taskId": task},
        {"type": "task", "session": "else", "taskId": task},
        {"type": "task", "session": "task:default:no", "taskId": "no"},
        {"type": "action", "session": 7, "invocationId": invocation},
        "nonsense",
    ]
    flue.sessions.save(KEY, document(chain(2), childSessions=references))
    to_itself = {"type": "action", "session": "inner", "invocationId": invocation}
    flue.sessions.save(child, document(chain(1), childSessions=[to_itself]))
    flue.sessions.save(grandchild, document([message("p", None, [picture("A")])]))
    flue.sessions.save(unrelated, document(chain(1)))
    flue.sessions.delete_tree(KEY)
    assert [flue.sessions.load(key) is None for key in (KEY, child, grandchild, unrelated)] == [True, True, True, False]
    assert count(flue, tables.image_chunks) == 0


def test_a_deleted_session_leaves_receipts_of_dispatches_and_keyed_submissions(flue: Flue) -> None:
    settle(flue, "dispatch")
    for prompt in (direct("plain"), direct(KEYED)):
        flue.submissions.admit_direct(prompt)
        flue.submissions.settle_queued(prompt.submission_id, "failed", "no")
    flue.sessions.delete_tree(KEY)
    with flue.engine.connect() as connection:
        left = connection.execute(sa.select(tables.dispatch_receipts.c.dispatch_id)).scalars().all()
    assert sorted(left) == sorted(["dispatch", KEYED])
    assert flue.submissions.admit_dispatch(dispatch("dispatch")).kind == "retained_receipt"
    assert flue.submissions.admit_direct(direct("plain")).status == "queued"


def test_not_in_a_unit(flue: Flue) -> None:
    with flue.begin() as unit, pytest.raises(InvalidInputError, match="unit of work"):
        unit.sessions.delete_tree(KEY)
    with flue.engine.connect() as connection, pytest.raises(InvalidInputError, match="unit of work"):
        flue.bind(connection).sessions.delete_tree(KEY)


def test_work_that_slips_in_before_the_marker_is_seen_by_the_second_look(flue: Flue) -> None:
    """A Flue 2 server knows no markers: its admission may come between our first look and the marker's commit."""
    settle(flue, "old")
    deletion = flue.sessions.deletion(KEY)
    deletion.start()
    with flue.engine.begin() as connection:
        columns = {"submission_id": "new", "session_key": KEY, "kind": "direct", "payload": "{}", "status": "queued", "accepted_at": 1}
        connection.execute(sa.insert(tables.submissions), columns)
    with pytest.raises(SessionBusyError):
        deletion.look_again()
    assert flue.sessions.list_pending_deletions() == []
    assert count(flue, tables.submissions) == 2


def test_a_callback_that_asks_for_its_own_deletion_is_told(flue: Flue) -> None:
    with pytest.raises(InvalidInputError, match="that very deletion"):
        flue.sessions.delete_tree(KEY, lambda: flue.sessions.delete_tree(KEY))
    assert flue.sessions.list_pending_deletions() == []


def test_who_shares_a_deletion_shares_its_failure(flue: Flue) -> None:
    inside, leave = threading.Event(), threading.Event()

    def callback() -> None:
        inside.set()
        assert leave.wait(20)
        raise LookupError("gone")

    first = in_background(flue.sessions.delete_tree, KEY, callback)
    assert inside.wait(20)
    second = in_background(flue.sessions.delete_tree, KEY, lambda: pytest.fail("called"))
    leave.set()
    for call in (first, second):
        with pytest.raises((LookupError, pytest.fail.Exception)):
            call.result(20)


async def test_awaited_deletions_are_shared_and_a_cancelled_one_takes_its_marker_back(aflue: AsyncFlue) -> None:
    inside, leave, calls = asyncio.Event(), asyncio.Event(), []

    async def callback() -> None:
        calls.append(await aflue.sessions.list_pending_deletions())
        inside.set()
        await leave.wait()

    first = asyncio.create_task(aflue.sessions.delete_tree(KEY, callback))
    await inside.wait()
    second = asyncio.create_task(aflue.sessions.delete_tree(KEY, callback))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await aflue.sessions.list_pending_deletions() == [KEY], "somebody still waits for it"
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert calls == [[KEY]]
    assert await aflue.sessions.list_pending_deletions() == []
    leave.set()
    await aflue.sessions.delete_tree(KEY, callback)
    assert len(calls) == 2


@pytest.mark.faults
def test_killed_at_any_statement_a_rerun_finishes(migrated: Database) -> None:
    """Whatever of the deletion was carried out, the session's work is either all there or all gone with its receipts."""
    flue = Flue(migrated.url, clock=ManualClock(2_000_000_000_000))

    def prepare() -> None:
        flue.sessions.save(KEY, document([message("p", None, [picture("A")])]))
        for number in range(3):
            settle(flue, f"old-{number}")

    def delete(killed: Flue) -> None:
        killed.sessions.delete_tree(KEY)

    settle(flue, "stays", instance="agent-2")
    flue.sessions.save(OTHER_KEY, document(chain(2)))
    prepare()
    deaths = 0
    for _ in killed_at_every_statement(migrated.url, delete):
        deaths += 1
        left = count(flue, tables.submissions, tables.submissions.c.session_key == KEY)
        assert left == 3 or (left == 0 and count(flue, tables.dispatch_receipts) == 3)
        flue.sessions.delete_tree(KEY)
        gone = (tables.submissions, tables.turn_journals, tables.stream_chunks, tables.session_entries, tables.image_chunks)
        left_over = [count(flue, table) for table in gone]
        assert left_over == [1, 1, 1, 2, 0], "only the other session's"
        assert flue.sessions.list_pending_deletions() == []
        assert flue.submissions.admit_dispatch(dispatch("old-0")).kind == "retained_receipt"
        with flue.engine.begin() as connection:
            connection.execute(sa.delete(tables.dispatch_receipts))
        prepare()
    assert deaths > 15
    assert flue.sessions.load(OTHER_KEY) == document(chain(2))
    flue.close()
