"""The same for sessions, journals, runs, events and retention."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from flue_sqla import Attempt, Flue, Submission
from flue_sqla.async_runs import AsyncRunRecorder
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.records import (
    EventPage,
    PruneReport,
    Run,
    RunPage,
    StatusReport,
    StoredEvent,
    StreamSegment,
    TurnJournal,
    WorkflowRunPointer,
)
from flue_sqla.repositories.runs import RunRecorder


def synchronous(flue: Flue, attempt: Attempt) -> None:
    assert_type(flue.sessions.load("k"), dict[str, Any] | None)
    assert_type(flue.sessions.append("k", [{"id": "e"}], expected_leaf=None), str)
    assert_type(flue.sessions.context("k"), list[dict[str, Any]])
    assert_type(flue.sessions.list_pending_deletions(), list[str])
    assert_type(flue.journals.get("s"), TurnJournal | None)
    assert_type(flue.journals.commit(attempt, "leaf"), bool)
    assert_type(flue.journals.replace_attempt(attempt, "next"), Submission | None)
    assert_type(flue.journals.segments("k"), list[StreamSegment])
    assert_type(flue.runs.get("r"), Run | None)
    assert_type(flue.runs.lookup("r"), WorkflowRunPointer | None)
    assert_type(flue.runs.list(status="active"), RunPage)
    assert_type(flue.runs.recover(1), list[str])
    assert_type(flue.events.append("p", {"type": "log"}), str)
    assert_type(flue.events.read("p"), EventPage)
    for event in flue.events.follow("p"):
        assert_type(event, StoredEvent)
    with flue.runs.record("w", input=1) as run:
        assert_type(run, RunRecorder)
        assert_type(run.emit({"type": "log"}), str | None)
    assert_type(flue.prune(older_than=timedelta(days=1)), PruneReport)
    assert_type(flue.status(), StatusReport)
    flue.sessions.append("k")  # type: ignore[call-arg]
    flue.runs.create(run_id="r")  # type: ignore[call-arg]


async def asynchronous(flue: AsyncFlue, attempt: Attempt) -> None:
    assert_type(await flue.sessions.load("k"), dict[str, Any] | None)
    assert_type(await flue.sessions.append("k", [{"id": "e"}], expected_leaf=None), str)
    assert_type(await flue.sessions.context("k"), list[dict[str, Any]])
    assert_type(await flue.sessions.list_pending_deletions(), list[str])
    assert_type(await flue.journals.get("s"), TurnJournal | None)
    assert_type(await flue.journals.commit(attempt, "leaf"), bool)
    assert_type(await flue.journals.replace_attempt(attempt, "next"), Submission | None)
    assert_type(await flue.journals.segments("k"), list[StreamSegment])
    assert_type(await flue.runs.get("r"), Run | None)
    assert_type(await flue.runs.lookup("r"), WorkflowRunPointer | None)
    assert_type(await flue.runs.list(status="active"), RunPage)
    assert_type(await flue.runs.recover(1), list[str])
    assert_type(await flue.events.append("p", {"type": "log"}), str)
    assert_type(await flue.events.read("p"), EventPage)
    async for event in flue.events.follow("p"):
        assert_type(event, StoredEvent)
    async with flue.runs.record("w", input=1) as run:
        assert_type(run, AsyncRunRecorder)
        assert_type(await run.emit({"type": "log"}), str | None)
    assert_type(await flue.prune(older_than=timedelta(days=1)), PruneReport)
    assert_type(await flue.status(), StatusReport)
    await flue.sessions.append("k")  # type: ignore[call-arg]
    await flue.runs.create(run_id="r")  # type: ignore[call-arg]
