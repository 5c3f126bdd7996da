"""Stopping loses nothing and costs nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Context
from tests.databases.contract import Database
from tests.worker.support import TIMEOUT, assert_readable, outcome, until, working

STEPS = 40


async def test_twenty_rolling_restarts_of_one_long_submission_count_as_one_attempt(aflue: AsyncFlue) -> None:
    runs: list[int] = []
    progressed = asyncio.Event()

    async def work(number: int) -> int:
        runs.append(number)
        progressed.set()
        await asyncio.sleep(0.01)
        return number

    async def long(ctx: Context) -> list[int]:
        return [await ctx.step(f"step {number}", work, number) for number in range(STEPS)]

    receipt = await aflue.dispatch("long", id="1", message="go")
    for _ in range(20):
        progressed.clear()
        async with working(aflue, {"long": long}) as worker:
            await progressed.wait()
        assert worker.telemetry.counts["released"] == 1
        row = await aflue.submissions.get(receipt.submission_id)
        assert row is not None
        assert (row.status, row.attempt_count) == ("queued", 0)
    async with working(aflue, {"long": long}):
        assert (await outcome(aflue, receipt.submission_id)).result == list(range(STEPS))
    row = await aflue.submissions.get(receipt.submission_id)
    assert row is not None
    assert row.attempt_count == 1
    assert runs == list(range(STEPS)), "each step ran once, in order"
    await assert_readable(aflue, "agents/long/1")


async def test_a_handler_without_a_boundary_finishes(aflue: AsyncFlue) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def short(ctx: Context) -> str:
        started.set()
        await go_on.wait()
        return "finished"

    async with working(aflue, {"short": short}) as worker:
        receipt = await aflue.dispatch("short", id="1", message="go")
        await started.wait()
        worker.stop()
        await asyncio.sleep(0.05)
        go_on.set()
    assert (await outcome(aflue, receipt.submission_id)).result == "finished"


async def test_a_handler_that_never_ends_goes_back_to_the_queue(aflue: AsyncFlue) -> None:
    started = asyncio.Event()

    async def endless(ctx: Context) -> None:
        started.set()
        await asyncio.Event().wait()

    from tests.worker.test_interruptions import _timing

    async with working(aflue, {"endless": endless}, timing=_timing(shutdown_ms=50)):
        receipt = await aflue.dispatch("endless", id="1", message="go")
        await started.wait()
    row = await aflue.submissions.get(receipt.submission_id)
    assert row is not None
    assert (row.status, row.attempt_count) == ("queued", 0)


async def test_a_cancelled_run_stops_gracefully_too(aflue: AsyncFlue) -> None:
    from flue_sqla.worker import Worker
    from tests.worker.support import QUICK

    started = asyncio.Event()

    async def looping(ctx: Context) -> None:
        started.set()
        while True:
            await asyncio.sleep(0.01)
            await ctx.check()

    running = asyncio.create_task(Worker(aflue, {"looping": looping}, timing=QUICK).run())
    receipt = await aflue.dispatch("looping", id="1", message="go")
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    row = await aflue.submissions.get(receipt.submission_id)
    assert row is not None
    assert (row.status, row.attempt_count) == ("queued", 0)


MODULE = """
import os, time
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Timing, Worker

async def slow(ctx):
    for number in range(200):
        await ctx.step(f"step {number}", time.sleep, 0.02)

def worker():
    flue = AsyncFlue(os.environ["APP_DATABASE"])
    return Worker(flue, {"slow": slow}, timing=Timing(lease_ms=20_000, heartbeat_ms=1_000))
"""


async def test_the_command_stops_on_sigterm_with_exit_code_0(migrated: Database, flue: Flue, tmp_path: Path) -> None:
    (tmp_path / "app_worker.py").write_text(MODULE)
    environment = {**os.environ, "APP_DATABASE": migrated.async_url, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "flue_sqla.cli", "worker", "app_worker:worker"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        receipt = await asyncio.to_thread(flue.dispatch, "slow", id="1", message="go")
        await until(lambda: _running(flue, receipt.submission_id))
        process.send_signal(signal.SIGTERM)
        _, told = await asyncio.wait_for(process.communicate(), TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, told
    assert b"released" in told
    row = flue.submissions.get(receipt.submission_id)
    assert row is not None
    assert (row.status, row.attempt_count) == ("queued", 0)


async def _running(flue: Flue, submission_id: str) -> Any:
    row = await asyncio.to_thread(flue.submissions.get, submission_id)
    return row is not None and row.input_applied_at is not None
