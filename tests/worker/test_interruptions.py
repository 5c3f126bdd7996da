"""Aborts, deadlines, lost ownership: whoever runs the work notices, and stops before its next effect."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.testing import ManualClock
from flue_sqla.wire import session_key
from flue_sqla.worker import Aborted, Agent, BlockingContext, Context, Lost, TimedOut
from tests.databases.contract import Database
from tests.worker.support import assert_readable, interrupted, outcome, records, until, working

PATH = "agents/triage/1"


async def test_an_abort_from_anywhere_ends_the_handler_and_what_had_joined(aflue: AsyncFlue) -> None:
    started, ended = asyncio.Event(), []

    async def triage(ctx: Context) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        await started.wait()
        behind = await aflue.dispatch("triage", id="1", message="behind")
        await aflue.submissions.request_abort(session_key("triage", "1"))
        assert (await outcome(aflue, receipt.submission_id)).outcome == "aborted"
        assert (await outcome(aflue, behind.submission_id)).outcome == "aborted"
    assert ended == ["cancelled"]
    advisory = next(record for record in await records(aflue, PATH) if record.get("signalType") == "submission_aborted")
    assert advisory["submissionId"] == receipt.submission_id
    await assert_readable(aflue, PATH)


async def test_a_thread_notices_an_abort_at_its_next_boundary(aflue: AsyncFlue) -> None:
    started, go_on, ended = threading.Event(), threading.Event(), []

    def triage(ctx: BlockingContext) -> None:
        started.set()
        go_on.wait()
        try:
            ctx.step("too late", ended.append, "ran")
        except Aborted:
            ended.append("aborted")
            raise

    async with working(aflue, {"triage": triage}) as worker:
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        await asyncio.to_thread(started.wait)
        await aflue.submissions.request_abort(session_key("triage", "1"))
        await until(lambda: interrupted(worker))
        go_on.set()
        assert (await outcome(aflue, receipt.submission_id)).outcome == "aborted"
    assert ended == ["aborted"]


async def test_a_deadline_beats_the_heartbeat_and_a_hung_thread(aflue: AsyncFlue) -> None:
    started, go_on, late = threading.Event(), threading.Event(), []

    def hang(ctx: BlockingContext) -> None:
        started.set()
        go_on.wait()
        try:
            ctx.append({"type": "state_write", "name": "late", "value": 1})
        except (Lost, TimedOut) as error:
            late.append(type(error).__name__)
            raise

    async with working(aflue, {"triage": Agent(hang, timeout_ms=300)}) as worker:
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
        assert (result.outcome, result.error) == ("failed", "Submission exceeded the configured timeout.")
        assert worker.telemetry.counts["abandoned"] == 1
        go_on.set()
        await until(lambda: _nonempty(late))
    assert late == ["Lost"]
    assert not [record for record in await records(aflue, PATH) if record["type"] == "state_write"]
    await assert_readable(aflue, PATH)


@pytest.mark.parametrize("concurrency", [1, 2], ids=["another-worker-takes-it", "any-worker-takes-it"])
async def test_a_worker_that_was_fenced_writes_nothing_more(aflue: AsyncFlue, concurrency: int) -> None:
    started, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def triage(ctx: Context) -> str:
        if ctx.submission.attempt_count > 1:
            return "the second"
        started.set()
        await go_on.wait()
        try:
            await ctx.step("too late", ended.append, "ran")
        except Lost:
            ended.append("lost")
            raise
        return "the first"

    slow = {"watch_ms": 60_000, "heartbeat_ms": 60_000, "lease_ms": 120_000}
    async with working(aflue, {"triage": triage}, timing=_timing(**slow), concurrency=concurrency) as first:
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        await started.wait()
        running = await aflue.submissions.get(receipt.submission_id)
        assert running is not None
        assert running.attempt is not None
        # Somebody takes the work away: an operator, or a worker whose clock is ahead of ours.
        assert await aflue.submissions.requeue(running.attempt)
        async with working(aflue, {"triage": triage}):
            await until(lambda: _attempt_is_not(aflue, receipt.submission_id, running.attempt_id))
            go_on.set()
            assert (await outcome(aflue, receipt.submission_id)).result == "the second"
        await until(lambda: _fenced(first))
    assert first.telemetry.counts["fenced"] == 1
    assert ended == ["lost"] or ended == []
    await assert_readable(aflue, PATH)


async def test_a_lease_that_lapsed_by_our_own_clock_stops_the_work_before_its_next_effect(migrated: Database, tmp_path: Any) -> None:
    clock, started, go_on, ended = ManualClock(), asyncio.Event(), asyncio.Event(), []
    flue = AsyncFlue(migrated.async_url, artifacts=str(tmp_path), clock=clock)

    async def triage(ctx: Context) -> None:
        started.set()
        await go_on.wait()
        for attempt_at in (lambda: ctx.step("s", ended.append, "ran"), lambda: ctx.artifacts.put(b"x", name="x"), ctx.joins):
            try:
                await attempt_at()
            except Lost:
                ended.append("lost")
        raise Lost("as the context said")

    slow = _timing(watch_ms=60_000, heartbeat_ms=60_000, lease_ms=120_000, scan_ms=60_000)
    try:
        async with working(flue, {"triage": triage}, timing=slow) as worker:
            # No second look for expired leases comes before the end.
            await until(lambda: _scanned(worker))
            receipt = await flue.dispatch("triage", id="1", message="hello")
            await started.wait()
            clock.advance(120_001)
            go_on.set()
            await until(lambda: _nonempty(ended[2:]))
            await until(lambda: _idle(worker))
        assert ended == ["lost", "lost", "lost"]
        row = await flue.submissions.get(receipt.submission_id)
        assert row is not None
        assert row.status == "running"
        assert (await flue.artifacts.list()).artifacts == []
    finally:
        await flue.close()


@pytest.mark.databases("sqlite")
async def test_a_handler_cannot_write_what_no_reader_accepts(aflue: AsyncFlue) -> None:
    async def triage(ctx: Context) -> None:
        await ctx.append({"type": "user_message", "messageId": "entry_x", "parentId": "entry_nowhere", "content": []})

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert result.outcome == "failed"
    assert "parentId" in str(result.error)
    await assert_readable(aflue, PATH)


@pytest.mark.databases("sqlite")
async def test_appends_of_an_earlier_run_are_not_repeated(aflue: AsyncFlue) -> None:
    from flue_sqla.worker import TransientError

    runs: list[int] = []

    async def triage(ctx: Context) -> None:
        await ctx.append({"type": "signal", "signalType": "note", "content": "once"})
        runs.append(1)
        if len(runs) == 1:
            raise TransientError("again")

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        assert (await outcome(aflue, receipt.submission_id)).ok
    assert len(runs) == 2
    assert len([record for record in await records(aflue, PATH) if record.get("signalType") == "note"]) == 1


@pytest.mark.databases("sqlite")
def test_a_unit_only_admits(flue: Flue) -> None:
    with flue.begin() as unit:
        receipt = unit.dispatch("triage", id="1", message="hello")
    row = flue.submissions.get(receipt.submission_id)
    assert row is not None
    assert (row.status, row.canonical_ready_at) == ("queued", None)


def _timing(**changes: int) -> Any:
    import dataclasses

    from tests.worker.support import QUICK

    return dataclasses.replace(QUICK, **changes)


async def _scanned(worker: Any) -> bool:
    return bool(worker.telemetry.counts["scanned"])


async def _fenced(worker: Any) -> bool:
    return bool(worker.telemetry.counts["fenced"])


async def _nonempty(items: list[Any]) -> bool:
    return bool(items)


async def _idle(worker: Any) -> bool:
    return worker.active == 0


async def _attempt_is_not(flue: AsyncFlue, submission_id: str, attempt_id: str | None) -> bool:
    row = await flue.submissions.get(submission_id)
    return row is not None and row.attempt_id not in (None, attempt_id)
