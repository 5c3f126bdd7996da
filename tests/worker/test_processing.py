"""A submission from its dispatch to its outcome, on both faces."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flue_sqla import UNSET, Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Agent, BlockingContext, Context, TransientError
from tests.worker.support import TIMEOUT, assert_readable, outcome, records, working


async def test_the_outcome_carries_what_the_handler_returned(aflue: AsyncFlue) -> None:
    async def triage(ctx: Context) -> dict[str, Any]:
        return {"echo": ctx.message["body"], "attempt": ctx.submission.attempt_count}

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="order-7", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert (result.ok, result.result, result.error) == (True, {"echo": "hello", "attempt": 1}, None)
    await assert_readable(aflue, "agents/triage/order-7")


async def test_a_plain_function_runs_in_a_thread(aflue: AsyncFlue) -> None:
    def triage(ctx: BlockingContext) -> list[Any]:
        loaded = ctx.step("load", str.upper, ctx.message["body"])
        art = ctx.artifacts.put(b"report", name="report.txt")
        ctx.append({"type": "state_write", "name": "seen", "value": True})
        return [loaded, art.size, threading.current_thread() is threading.main_thread()]

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert result.result == ["HELLO", 6, False]
    stored = await aflue.artifacts.list(submission_id=receipt.submission_id)
    assert [artifact.name for artifact in stored.artifacts] == ["report.txt"]


async def test_a_worker_over_the_blocking_flue(flue: Flue) -> None:
    async def triage(ctx: Context) -> Any:
        art = await ctx.artifacts.put(b"x", name="n")
        return [await ctx.step("double", lambda n: n * 2, 21), art.submission_id == ctx.submission.submission_id]

    async with working(flue, {"triage": triage}):
        receipt = await asyncio.to_thread(flue.dispatch, "triage", id="1", message="hello")
        result = await asyncio.to_thread(flue.wait, receipt.submission_id, TIMEOUT)
    assert result.result == [42, True]


async def test_what_a_host_admits_in_its_own_transaction_runs_after_its_commit(aflue: AsyncFlue) -> None:
    async def triage(ctx: Context) -> str:
        return str(ctx.message["body"])

    async with working(aflue, {"triage": triage}):
        async with aflue.engine.connect() as connection:
            receipt = await aflue.bind(connection).dispatch("triage", id="1", message="committed")
            await connection.commit()
            lost = await aflue.bind(connection).dispatch("triage", id="2", message="rolled back")
            await connection.rollback()
        assert (await outcome(aflue, receipt.submission_id)).result == "committed"
    assert await aflue.submissions.get(lost.submission_id) is None


async def test_a_session_runs_in_order_and_others_meanwhile(aflue: AsyncFlue) -> None:
    seen: list[str] = []

    async def triage(ctx: Context) -> None:
        seen.append(f"{ctx.id}:{ctx.message['body']}")
        await asyncio.sleep(0.01)

    receipts = [await aflue.dispatch("triage", id=f"i{n % 2}", message=str(n)) for n in range(8)]
    async with working(aflue, {"triage": triage}):
        for receipt in receipts:
            assert (await outcome(aflue, receipt.submission_id)).ok
    assert [entry for entry in seen if entry.startswith("i0")] == [f"i0:{n}" for n in (0, 2, 4, 6)]
    assert [entry for entry in seen if entry.startswith("i1")] == [f"i1:{n}" for n in (1, 3, 5, 7)]
    await assert_readable(aflue, "agents/triage/i0")


async def test_a_failing_handler_fails_its_submission_and_hides_why_from_clients(aflue: AsyncFlue) -> None:
    async def triage(ctx: Context) -> None:
        raise ValueError("the secret cause")

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert (result.outcome, result.error, result.result) == ("failed", "the secret cause", UNSET)
    settled = (await records(aflue, "agents/triage/1"))[-1]
    assert settled["type"] == "submission_settled"
    assert "secret" not in str(settled)


async def test_transient_errors_are_tried_again_and_recorded_steps_are_not(aflue: AsyncFlue) -> None:
    runs: list[str] = []

    async def triage(ctx: Context) -> int:
        await ctx.step("once", runs.append, "once")
        runs.append("try")
        if runs.count("try") < 3:
            raise TransientError("not yet")
        return len(runs)

    async with working(aflue, {"triage": triage}) as worker:
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert (result.result, runs) == (4, ["once", "try", "try", "try"])
    assert worker.telemetry.counts["retried"] == 2


async def test_an_error_that_does_not_pass_fails_in_the_end(aflue: AsyncFlue) -> None:
    async def triage(ctx: Context) -> None:
        raise ConnectionError("away")

    async with working(aflue, {"triage": Agent(triage, retry_on=(ConnectionError,), max_retries=2)}) as worker:
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert (result.outcome, result.error, worker.telemetry.counts["retried"]) == ("failed", "away", 2)


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan")], ids=["object", "keys", "nan"])
async def test_a_result_without_a_json_form_fails_or_is_null(aflue: AsyncFlue, value: Any) -> None:
    async def triage(ctx: Context) -> Any:
        return value

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        result = await outcome(aflue, receipt.submission_id)
    assert result.outcome == "failed" or result.result is None
