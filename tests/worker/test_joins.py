"""Messages that arrive while a session is busy."""

from __future__ import annotations

import asyncio
from typing import Any

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Context, TransientError
from tests.worker.support import assert_readable, interrupted, outcome, records, until, working

PATH = "agents/chat/1"


async def test_they_join_the_running_response_in_order_and_share_its_outcome(aflue: AsyncFlue) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def chat(ctx: Context) -> list[str]:
        started.set()
        await go_on.wait()
        return [ctx.message["body"], *[delivery.message["body"] async for delivery in ctx.deliveries()]]

    async with working(aflue, {"chat": chat}) as worker:
        host = await aflue.dispatch("chat", id="1", message="one")
        await started.wait()
        later = [await aflue.dispatch("chat", id="1", message=text) for text in ("two", "three")]
        go_on.set()
        assert (await outcome(aflue, host.submission_id)).result == ["one", "two", "three"]
        for receipt in later:
            joined = await outcome(aflue, receipt.submission_id)
            assert (joined.ok, joined.result) == (True, ["one", "two", "three"])
    assert worker.telemetry.counts["claimed"] == 1
    settled = [record["submissionId"] for record in await records(aflue, PATH) if record["type"] == "submission_settled"]
    assert settled == [later[0].submission_id, later[1].submission_id, host.submission_id]
    await assert_readable(aflue, PATH)


async def test_a_handler_that_never_asks_leaves_them_to_later_runs(aflue: AsyncFlue) -> None:
    async def chat(ctx: Context) -> Any:
        return ctx.message["body"]

    receipts = [await aflue.dispatch("chat", id="1", message=text) for text in ("one", "two")]
    async with working(aflue, {"chat": chat}) as worker:
        assert [(await outcome(aflue, receipt.submission_id)).result for receipt in receipts] == ["one", "two"]
    assert worker.telemetry.counts["claimed"] == 2


async def test_a_failing_host_fails_what_has_joined(aflue: AsyncFlue) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def chat(ctx: Context) -> None:
        started.set()
        await go_on.wait()
        await ctx.joins()
        raise ValueError("broken")

    async with working(aflue, {"chat": chat}):
        host = await aflue.dispatch("chat", id="1", message="one")
        await started.wait()
        later = await aflue.dispatch("chat", id="1", message="two")
        go_on.set()
        for receipt in (host, later):
            assert (await outcome(aflue, receipt.submission_id)).error == "broken"


async def test_a_second_run_hears_again_of_what_had_joined(aflue: AsyncFlue) -> None:
    started, go_on, runs = asyncio.Event(), asyncio.Event(), []

    async def chat(ctx: Context) -> list[str]:
        started.set()
        await go_on.wait()
        joined = [delivery.message["body"] for delivery in await ctx.joins()]
        runs.append(joined)
        if len(runs) == 1:
            raise TransientError("once more")
        return joined

    async with working(aflue, {"chat": chat}):
        host = await aflue.dispatch("chat", id="1", message="one")
        await started.wait()
        await aflue.dispatch("chat", id="1", message="two")
        go_on.set()
        assert (await outcome(aflue, host.submission_id)).result == ["two"]
    assert runs == [["two"], ["two"]]
    await assert_readable(aflue, PATH)


async def test_what_had_joined_a_released_response_is_part_of_its_next_attempt(aflue: AsyncFlue) -> None:
    started, go_on, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def chat(ctx: Context) -> list[str]:
        started.set()
        await go_on.wait()
        joined = [delivery.message["body"] for delivery in await ctx.joins()]
        if not stopped.is_set():
            await stopped.wait()
            await ctx.check()
        return joined

    async with working(aflue, {"chat": chat}) as worker:
        host = await aflue.dispatch("chat", id="1", message="one")
        await started.wait()
        later = await aflue.dispatch("chat", id="1", message="two")
        go_on.set()
        await until(lambda: _status(aflue, later.submission_id, "joined"))
        worker.stop()
        await until(lambda: interrupted(worker))
        stopped.set()
    assert await _status(aflue, host.submission_id, "queued")
    assert await _status(aflue, later.submission_id, "joined")
    async with working(aflue, {"chat": chat}):
        assert (await outcome(aflue, host.submission_id)).result == ["two"]
        assert (await outcome(aflue, later.submission_id)).ok
    await assert_readable(aflue, PATH)


async def _status(flue: AsyncFlue, submission_id: str, status: str) -> bool:
    row = await flue.submissions.get(submission_id)
    return row is not None and row.status == status
