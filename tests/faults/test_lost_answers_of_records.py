"""The same for sessions, journals, runs, events and prune: the server committed, and nobody heard of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flue_sqla import Attempt, Flue
from flue_sqla.errors import OutcomeUnknown
from flue_sqla.wire import format_offset
from tests.databases.contract import Database
from tests.faults.test_lost_answers import Lossy
from tests.sessions.documents import KEY, chain, document, ids, message
from tests.submissions.inputs import direct, run

pytestmark = pytest.mark.databases("postgres", "mariadb")

PATH = "runs/run_1"


@pytest.fixture
def lossy(migrated: Database) -> Iterator[Lossy]:
    made = Lossy(migrated)
    yield made
    made.flue.close()
    made.proxy.close()


def lost(lossy: Lossy, statement: str, call: Callable[[Flue], Any]) -> Any:
    """The result of one call whose first answer is lost."""
    lossy.proxy.lost = 0
    return lossy.during(statement, lambda: call(lossy.flue))


def test_sessions(lossy: Lossy) -> None:
    lost(lossy, "COMMIT", lambda flue: flue.sessions.save(KEY, document(chain(3))))
    assert lost(lossy, "INSERT INTO", lambda flue: flue.sessions.append(KEY, [message("e3", "e2")], expected_leaf="e2")) == "e3"
    assert lost(lossy, "INSERT INTO", lambda flue: flue.sessions.append(KEY, [message("e4", "e3")])) == "e4"
    assert ids(lossy.flue.sessions.context(KEY)) == ["e0", "e1", "e2", "e3", "e4"]
    lost(lossy, "COMMIT", lambda flue: flue.sessions.delete_tree(KEY))
    assert lossy.flue.sessions.load(KEY) is None
    assert lossy.flue.sessions.list_pending_deletions() == []


def test_events(lossy: Lossy) -> None:
    lost(lossy, "INSERT INTO", lambda flue: flue.events.create(PATH))
    assert lost(lossy, "INSERT INTO", lambda flue: flue.events.append_once(PATH, "key", 1)) == format_offset(0)
    with pytest.raises(OutcomeUnknown):
        lost(lossy, "INSERT INTO", lambda flue: flue.events.append(PATH, 2))
    lost(lossy, "UPDATE", lambda flue: flue.events.close(PATH))
    page = lossy.flue.events.read(PATH)
    assert ([event.data for event in page.events], page.closed) == ([1, 2], True)


def test_runs(lossy: Lossy) -> None:
    times = {"started_at": "2026-06-01T10:00:00.000Z"}
    lost(lossy, "INSERT INTO", lambda flue: flue.runs.create(run_id="run_1", workflow_name="w", **times))
    lost(lossy, "UPDATE", lambda flue: flue.runs.end("run_1", ended_at="x", is_error=False, duration_ms=1, result=7))
    found = lossy.flue.runs.get("run_1")
    assert found is not None
    assert (found.status, found.result) == ("completed", 7)


def test_journals(lossy: Lossy) -> None:
    attempt = run(lossy.flue, "one")
    turn = {"session_key": KEY, "kind": "dispatch", "operation_id": "o", "turn_id": "t", "phase": "before_provider"}
    assert lost(lossy, "INSERT INTO", lambda flue: flue.journals.begin(submission_id="one", attempt_id=attempt.attempt_id, **turn))
    assert lost(lossy, "UPDATE", lambda flue: flue.journals.update_phase(attempt, "provider_started", stream_key="s"))
    assert lost(lossy, "INSERT INTO", lambda flue: flue.journals.append_segment("s", 0, "[]"))
    assert lost(lossy, "UPDATE", lambda flue: flue.journals.mark_stream_consumed(attempt, "s"))
    replaced = lost(lossy, "UPDATE", lambda flue: flue.journals.replace_attempt(attempt, "attempt-2"))
    assert (replaced.attempt_id, replaced.attempt_count) == ("attempt-2", 2)
    assert lost(lossy, "UPDATE", lambda flue: flue.journals.commit(Attempt(submission_id="one", attempt_id="attempt-2"), "leaf"))


def test_prune(lossy: Lossy) -> None:
    for number in range(3):
        lossy.flue.submissions.admit_direct(direct(f"old-{number}"))
        lossy.flue.submissions.settle_queued(f"old-{number}", "failed", "no")
    lost(lossy, "COMMIT", lambda flue: flue.prune(keep_last=1))
    assert lossy.flue.prune(keep_last=0).deleted["flue_agent_submissions"] == 1
