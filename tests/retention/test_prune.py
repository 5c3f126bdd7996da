"""``prune``: what goes, what stays, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError, ReceiptRetainedError
from flue_sqla.models import tables
from flue_sqla.records import PruneProgress
from flue_sqla.testing.clock import ManualClock
from flue_sqla.wire import keyed_submission_id
from tests.databases.contract import Database
from tests.databases.killing import killed_at_every_statement
from tests.retention.work import DAY, HOUR, count, counts, ended_run, settled, values
from tests.submissions.inputs import direct, dispatch, run
from tests.submissions.waiting import in_background

START = 1_780_444_800_000
KEYED = keyed_submission_id("assistant", "agent-1", "key")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def old(migrated: Database, clock: ManualClock, artifact_url: str) -> Iterator[Flue]:
    """A Flue whose clock the test moves."""
    flue = Flue(migrated.url, clock=clock, artifacts=artifact_url)
    yield flue
    flue.close()


def test_settled_submissions_go_with_everything_that_hangs_on_them(old: Flue, clock: ManualClock) -> None:
    image = {"type": "image", "data": "QUFB", "mimeType": "image/png"}
    old.submissions.admit_direct(direct("pictured", attachments=[image]))
    old.submissions.settle_queued("pictured", "failed", "no")
    settled(old, "old-1")
    settled(old, "old-2")
    clock.advance(2 * HOUR)
    settled(old, "young")
    run(old, "running")
    report = old.prune(older_than=timedelta(hours=1))
    assert report.deleted == {
        "flue_agent_submissions": 3,
        "flue_agent_stream_chunks": 4,
        "flue_agent_turn_journals": 2,
        "flue_image_chunks": 0,
        "flue_submission_chunks": 1,
        "flue_agent_attempt_markers": 2,
        "flue_event_stream_entries": 0,
        "flue_event_streams": 0,
        "flue_runs": 0,
        "flue_agent_dispatch_receipts": 0,
    }
    assert (report.receipts, report.dry_run, report.total) == (2, False, 12)
    assert values(old, tables.submissions.c.submission_id) == ["running", "young"]
    assert values(old, tables.turn_journals.c.submission_id) == ["young"]
    assert old.prune(older_than=HOUR).total == 0


def test_a_dry_run_counts_the_same_and_deletes_nothing(old: Flue, clock: ManualClock) -> None:
    for number in range(3):
        settled(old, f"old-{number}")
        ended_run(old, f"run_{number}")
    settled(old, "kept", instance="agent-2")
    clock.advance(2 * HOUR)
    settled(old, "young")
    told = old.prune(older_than=HOUR, keep_last=1, dry_run=True)
    before = counts(old, told.deleted)
    assert counts(old, told.deleted) == before
    done = old.prune(older_than=HOUR, keep_last=1)
    assert (done.deleted, done.receipts) == (told.deleted, told.receipts)
    assert done.deleted["flue_agent_submissions"] == 3
    assert counts(old, told.deleted) == {
        name: before[name] - gone + (3 if name == "flue_agent_dispatch_receipts" else 0) for name, gone in done.deleted.items()
    }


def test_a_redelivery_after_prune_never_runs_again(old: Flue, clock: ManualClock) -> None:
    settled(old, "dispatch")
    for prompt in (direct(KEYED), direct("plain")):
        old.submissions.admit_direct(prompt)
        old.submissions.settle_queued(prompt.submission_id, "failed", "no")
    clock.advance(2 * HOUR)
    assert old.prune(older_than=HOUR).receipts == 2
    assert old.submissions.admit_dispatch(dispatch("dispatch")).kind == "retained_receipt"
    with pytest.raises(ReceiptRetainedError):
        old.submissions.admit_direct(direct(KEYED, "another message"))
    assert old.submissions.admit_direct(direct("plain")).status == "queued"


def test_receipts_are_kept_for_their_time(old: Flue, clock: ManualClock) -> None:
    settled(old, "old")
    with old.engine.begin() as connection:
        # Of another writer: judged by the time at which its submission was accepted.
        foreign = [{"dispatch_id": "foreign-old", "accepted_at": START - 31 * DAY}, {"dispatch_id": "foreign", "accepted_at": START}]
        connection.execute(sa.insert(tables.dispatch_receipts), foreign)
    clock.advance(2 * HOUR)
    report = old.prune(older_than=HOUR, receipts_for=timedelta(days=30))
    assert (report.receipts, report.deleted["flue_agent_dispatch_receipts"]) == (1, 1)
    assert values(old, tables.dispatch_receipts.c.dispatch_id) == ["foreign", "old"]
    clock.advance(29 * DAY)
    assert old.prune(older_than=HOUR).deleted["flue_agent_dispatch_receipts"] == 0
    clock.advance(DAY)
    assert old.prune(older_than=HOUR, batch_size=1).deleted["flue_agent_dispatch_receipts"] == 2
    assert old.submissions.admit_dispatch(dispatch("old")).kind == "submission"


def test_the_last_of_each_session_and_workflow_can_be_kept(old: Flue, clock: ManualClock) -> None:
    for number in range(4):
        settled(old, f"one-{number}")
        settled(old, f"two-{number}", instance="agent-2")
        ended_run(old, f"run_{number}")
        ended_run(old, f"run_other_{number}", "other")
        clock.advance(1)
    assert old.prune(keep_last=2).deleted["flue_agent_submissions"] == 4
    assert values(old, tables.submissions.c.submission_id) == ["one-2", "one-3", "two-2", "two-3"]
    assert values(old, tables.runs.c.run_id) == ["run_2", "run_3", "run_other_2", "run_other_3"]
    assert old.prune(keep_last=2).total == 0


def test_what_has_not_ended_is_never_touched(old: Flue, clock: ManualClock) -> None:
    old.submissions.admit_direct(direct("queued"))
    attempt = run(old, "running", instance="agent-2")
    other = run(old, "terminalizing", instance="agent-3")
    old.submissions.reserve_settlement(other, "r", {"id": "r", "outcome": "completed"})
    old.runs.create(run_id="run_active", workflow_name="w", started_at="2020-01-01T00:00:00.000Z")
    old.events.create("runs/run_active")
    old.events.append("runs/run_active", 1)
    clock.advance(400 * DAY)
    assert old.prune(older_than=0, keep_last=0).total == 0
    assert old.submissions.complete(attempt)
    assert len(old.events.read("runs/run_active").events) == 1


@pytest.mark.parametrize(("host", "child"), [("settled", "joined"), ("settled", "terminalizing"), ("running", "settled")])
def test_what_live_work_refers_to_stays(old: Flue, clock: ManualClock, host: str, child: str) -> None:
    run(old, "host")
    old.submissions.admit_direct(direct("child"))
    with old.engine.begin() as connection:
        s = tables.submissions
        settled_at = {"settled": START}
        connection.execute(sa.update(s).where(s.c.submission_id == "host").values(status=host, settled_at=settled_at.get(host)))
        joined = {"joined_into": "host", "status": child, "settled_at": settled_at.get(child)}
        connection.execute(sa.update(s).where(s.c.submission_id == "child").values(joined))
    clock.advance(2 * HOUR)
    assert old.prune(older_than=HOUR, dry_run=True).deleted["flue_agent_submissions"] == 0
    assert old.prune(older_than=HOUR).deleted["flue_agent_submissions"] == 0
    with old.engine.begin() as connection:
        connection.execute(sa.update(s).values(status="settled", settled_at=START))
    assert old.prune(older_than=HOUR).deleted["flue_agent_submissions"] == 2


def test_ended_runs_go_with_their_events(old: Flue, clock: ManualClock) -> None:
    ended_run(old, "run_old", events=3)
    ended_run(old, "run_old_2", events=1)
    old.events.create("agents/assistant/agent-1")
    clock.advance(2 * HOUR)
    ended_run(old, "run_young")
    deleted = old.prune(older_than=HOUR, batch_size=1).deleted
    assert [deleted[f"flue_{name}"] for name in ("runs", "event_streams", "event_stream_entries")] == [2, 2, 4]
    assert values(old, tables.runs.c.run_id) == ["run_young"]
    assert values(old, tables.event_streams.c.path) == ["agents/assistant/agent-1", "runs/run_young"]


def test_a_long_stream_goes_in_pieces(old: Flue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flue_sqla.repositories.retention.runs._LONG", 4)
    ended_run(old, "run_old", events=11)
    ended_run(old, "run_young", events=11)
    clock.advance(2 * HOUR)
    old.runs.end("run_young", ended_at="2099-01-01T00:00:00.000Z", is_error=False, duration_ms=0)
    with old.engine.begin() as connection:
        # What the statement was built with before the limit was lowered for this test.
        connection.execute(sa.update(tables.event_streams).values(next_offset=10_001))
    deleted = old.prune(older_than=HOUR).deleted
    assert deleted["flue_event_stream_entries"] == 11
    assert count(old, tables.event_entries) == 11


def test_artifacts_of_pruned_runs_are_kept_unless_asked(old: Flue, clock: ManualClock) -> None:
    ended_run(old, "run_1")
    ended_run(old, "run_2")
    kept = old.artifacts.put(b"1", name="a", run_id="run_1")
    gone = old.artifacts.put(b"2", name="b", run_id="run_2")
    clock.advance(2 * HOUR)
    old.runs.end("run_2", ended_at="2026-06-03T01:30:00.000Z", is_error=False, duration_ms=0)
    old.prune(older_than=HOUR)
    assert old.artifacts.get(kept.id) is not None
    clock.advance(2 * HOUR)
    assert old.prune(older_than=HOUR, artifacts=True, dry_run=True).deleted["flue_artifacts"] == 1
    assert old.prune(older_than=HOUR, artifacts=True).deleted["flue_artifacts"] == 1
    assert old.artifacts.get(kept.id) is not None
    assert old.artifacts.get(gone.id) is None


def test_batches_and_progress(old: Flue, clock: ManualClock) -> None:
    for number in range(5):
        settled(old, f"old-{number}")
        clock.advance(number % 2)
    clock.advance(2 * HOUR)
    told: list[PruneProgress] = []
    old.prune(older_than=HOUR, batch_size=2, progress=told.append)
    assert [(step.step, step.done, step.total) for step in told] == [("submissions", 2, 5), ("submissions", 4, 5), ("submissions", 5, 5)]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"older_than": -1},
        {"older_than": 1.5},
        {"older_than": 10**30},
        {"keep_last": -1},
        {"keep_last": 2**31},
        {"older_than": 0, "batch_size": 0},
        {"instances": ["agent"]},
    ],
)
def test_arguments_that_make_no_sense(flue: Flue, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        flue.prune(**arguments)


async def test_awaited(aflue: AsyncFlue) -> None:
    await aflue.submissions.admit_direct(direct("old"))
    await aflue.submissions.settle_queued("old", "failed", "no")
    async with aflue.runs.record("nightly") as recorded:
        pass
    await aflue.artifacts.put(b"1", name="a", run_id=recorded.run_id)
    report = await aflue.prune(keep_last=0, artifacts=True)
    assert report.deleted["flue_agent_submissions"] == report.deleted["flue_runs"] == report.deleted["flue_artifacts"] == 1
    assert (await aflue.status()).agents == []


def test_two_prunes_and_workers_side_by_side(migrated: Database, old: Flue, clock: ManualClock) -> None:
    """What two prunes remove together is what one would, and a worker that goes on meanwhile notices nothing."""
    for number in range(40):
        settled(old, f"old-{number}", instance=f"agent-{number % 4}")
        ended_run(old, f"run_{number}")
    clock.advance(2 * HOUR)
    second = Flue(migrated.url, clock=clock)
    prunes = [in_background(prune.prune, older_than=HOUR, batch_size=3) for prune in (old, second)]
    worker = Flue(migrated.url, clock=clock)
    for number in range(10):
        settled(worker, f"new-{number}", instance=f"agent-{number % 4}")
    reports = [prune.result(60) for prune in prunes]
    assert sum(report.deleted["flue_agent_submissions"] for report in reports) == 40
    assert sum(report.deleted["flue_runs"] for report in reports) == 40
    assert sum(report.receipts for report in reports) == 40
    assert values(old, tables.submissions.c.submission_id) == sorted(f"new-{number}" for number in range(10))
    assert count(old, tables.dispatch_receipts) == 40
    second.close()
    worker.close()


@pytest.mark.faults
def test_killed_at_any_statement_a_rerun_finishes(migrated: Database, old: Flue) -> None:
    names = ["flue_agent_submissions", "flue_agent_turn_journals", "flue_agent_stream_chunks", "flue_runs", "flue_event_stream_entries"]
    settled(old, "stays")
    ended_run(old, "run_stays")
    run(old, "running", instance="agent-2")
    with old.engine.begin() as connection:
        connection.execute(sa.update(tables.submissions).where(tables.submissions.c.submission_id == "stays").values(settled_at=2**52))
        connection.execute(sa.update(tables.runs).values(ended_at="2999-01-01T00:00:00.000Z"))
    staying = counts(old, names)

    def prepare() -> None:
        for number in range(3):
            settled(old, f"old-{number}")
        ended_run(old, "run_old")
        old.runs.end("run_old", ended_at="2020-01-01T00:00:00.000Z", is_error=False, duration_ms=0)

    def prune(killed: Flue) -> None:
        killed.prune(older_than=HOUR, batch_size=2)

    prepare()
    deaths = 0
    for _ in killed_at_every_statement(migrated.url, prune):
        deaths += 1
        left = values(old, tables.submissions.c.submission_id)
        receipts = values(old, tables.dispatch_receipts.c.dispatch_id)
        assert sorted([*left, *receipts]) == sorted(["stays", "running", "old-0", "old-1", "old-2"]), "each is there or has its receipt"
        Flue(migrated.url).prune(older_than=HOUR)
        assert counts(old, names) == staying
        assert values(old, tables.dispatch_receipts.c.dispatch_id) == ["old-0", "old-1", "old-2"]
        with old.engine.begin() as connection:
            connection.execute(sa.delete(tables.dispatch_receipts))
        prepare()
    assert deaths > 25
