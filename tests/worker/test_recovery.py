"""What a worker that is gone leaves behind, at each point where it can die, and who finishes it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flue_sqla import Durability, Submission
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.conversation import Envelope, builders, fold
from flue_sqla.wire import new_id
from flue_sqla.worker import Agent, Context
from tests.worker.support import assert_readable, outcome, records, until, working

PATH = "agents/triage/1"


async def triage(ctx: Context) -> str:
    return await ctx.step("work", lambda: "done again")


class DeadWorker:
    """A worker that has claimed a submission, got so far, and will never come back: its lease ends at once."""

    def __init__(self, flue: AsyncFlue, submission: Submission) -> None:
        assert submission.attempt is not None
        self.flue, self.submission, self.attempt = flue, submission, submission.attempt
        self.sequence = 0

    @classmethod
    async def claiming(cls, flue: AsyncFlue, **dispatch: Any) -> DeadWorker:
        await flue.dispatch("triage", id="1", message="hello", **dispatch)
        (claimed,) = await flue.submissions.claim_next(owner_id="owner_dead", agents=["triage"], lease_expires_at=1)
        return cls(flue, claimed)

    async def append(self, *records_: dict[str, Any]) -> None:
        if self.sequence == 0:
            self.claim = await self.flue.conversations.acquire_producer(PATH, "owner_dead")
        await self.flue.conversations.append(
            PATH,
            producer_id=self.claim.producer_id,
            producer_epoch=self.claim.producer_epoch,
            incarnation=self.claim.incarnation,
            producer_sequence=self.sequence,
            records=records_,
            submission=self.attempt,
        )
        self.sequence += 1

    async def envelope(self) -> Envelope:
        root = fold(await records(self.flue, PATH)).root
        assert root is not None
        return Envelope.of(root, self.submission.submission_id, self.attempt.attempt_id)

    async def leaf(self) -> str | None:
        root = fold(await records(self.flue, PATH)).root
        assert root is not None
        return root.leaf

    async def apply_input(self) -> None:
        record = builders.input_record(await self.envelope(), 1, self.submission.input, parent_id=await self.leaf())
        await self.append(record)

    async def answer(self, text: str = '"done before"') -> None:
        info = {"api": "flue-sqla", "provider": "python", "model": "triage"}
        await self.append(*builders.assistant_message(await self.envelope(), 1, parent_id=await self.leaf(), text=text, model_info=info))

    async def settlement(self) -> dict[str, Any]:
        return builders.submission_settled(await self.envelope(), 1, self.submission.kind, "completed")


async def finished(flue: AsyncFlue, dead: DeadWorker, agent: Any = triage) -> tuple[Any, dict[str, int]]:
    """Let two workers recover it; its outcome and what both counted."""
    async with working(flue, {"triage": agent}) as one, working(flue, {"triage": agent}) as other:
        result = await outcome(flue, dead.submission.submission_id)
    await assert_readable(flue, PATH)
    settled = [record for record in await records(flue, PATH) if record["type"] == "submission_settled"]
    assert len(settled) == 1
    return result, one.telemetry.counts + other.telemetry.counts


async def test_before_the_input_it_goes_back_to_the_queue(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    result, counts = await finished(aflue, dead)
    assert (result.result, counts["requeued"], counts["recovered"]) == ("done again", 1, 0)
    assert (await aflue.submissions.get(dead.submission.submission_id)).attempt_count == 2


async def test_after_the_input_the_attempt_is_replaced_once(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    result, counts = await finished(aflue, dead)
    assert (result.result, counts["recovered"]) == ("done again", 1)


async def test_a_recorded_step_is_not_run_again(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    call_id = f"call_{dead.submission.submission_id}"
    await dead.append(
        builders.tool_step_settled(await dead.envelope(), 1, tool_call_id=call_id, tool_name="triage", step_name="work", value="first")
    )
    result, counts = await finished(aflue, dead)
    assert (result.result, counts["step_replayed"]) == ("first", 1)


async def test_after_the_answer_only_the_settlement_is_missing(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    await dead.answer()
    result, counts = await finished(aflue, dead)
    assert (result.result, counts["claimed"]) == ("done before", 0)
    assert (await aflue.submissions.get(dead.submission.submission_id)).attempt_count == 1


@pytest.mark.parametrize("appended", [False, True], ids=["reserved", "appended"])
async def test_a_reserved_settlement_is_finished(aflue: AsyncFlue, appended: bool) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    await dead.answer()
    record = await dead.settlement()
    assert await aflue.submissions.reserve_settlement(dead.attempt, record["id"], record) is not None
    if appended:
        await dead.append(record)
    result, counts = await finished(aflue, dead)
    assert (result.result, counts["settlement_finished"]) == ("done before", 1)
    assert (await records(aflue, PATH))[-1] == record


async def test_a_message_in_progress_and_an_open_tool_batch_are_closed(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    info = {"api": "a", "provider": "p", "model": "m"}
    envelope = await dead.envelope()
    message = {"message_id": new_id("entry")}
    await dead.append(
        builders.assistant_started(envelope, 1, **message, parent_id=await dead.leaf(), model_info=info),
        builders.assistant_tool_call(envelope, 1, **message, block_index=0, tool_call_id="c1", name="rm", arguments={}),
        builders.assistant_completed(envelope, 1, **message, stop_reason="toolUse"),
    )
    result, _ = await finished(aflue, dead)
    assert result.result == "done again"
    (repaired,) = [record for record in await records(aflue, PATH) if record["type"] == "tool_outcome"]
    assert repaired["isError"]
    assert "unknown" in repaired["content"][0]["text"]


async def test_a_budget_that_is_used_up_ends_it(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    await aflue.submissions.mark_input_applied(dead.attempt, _budget(1))
    result, _ = await finished(aflue, dead)
    assert (result.outcome, result.error) == ("failed", "Submission exceeded maximum recovery attempts (1/1).")
    advisory, settled = (await records(aflue, PATH))[-2:]
    assert (advisory["signalType"], settled["error"]["type"]) == ("submission_interrupted", "submission_retry_exhausted")


async def test_a_deadline_that_has_passed_ends_it(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    await aflue.submissions.mark_input_applied(dead.attempt, _budget(10, timeout_at=5))
    result, _ = await finished(aflue, dead)
    assert (result.outcome, result.error) == ("failed", "Submission exceeded the configured timeout.")


async def test_an_abort_that_nobody_noticed_ends_it(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    await aflue.submissions.request_abort(dead.submission.session_key)
    result, _ = await finished(aflue, dead)
    assert result.outcome == "aborted"


async def test_another_agents_submission_is_left_alone(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    async with working(aflue, {"other": triage}) as worker:
        await until(lambda: _passes(worker))
    assert (await aflue.submissions.get(dead.submission.submission_id)).status == "running"
    assert not worker.telemetry.counts["requeued"]


async def test_a_dead_workers_late_append_changes_nothing(aflue: AsyncFlue) -> None:
    dead = await DeadWorker.claiming(aflue)
    await dead.apply_input()
    await finished(aflue, dead)
    before = await records(aflue, PATH)
    with pytest.raises(Exception, match=r"stale|no longer owns"):
        await dead.answer()
    assert await records(aflue, PATH) == before


async def test_the_agents_own_budget_is_installed(aflue: AsyncFlue) -> None:
    async def look(ctx: Context) -> list[int]:
        row = await aflue.submissions.get(ctx.submission.submission_id)
        assert row is not None
        assert row.started_at is not None
        return [row.max_attempts, row.timeout_at - row.started_at]

    async with working(aflue, {"triage": Agent(look, max_attempts=3, timeout_ms=5_000)}):
        receipt = await aflue.dispatch("triage", id="1", message="hello")
        assert (await outcome(aflue, receipt.submission_id)).result == [3, 5_000]


def _budget(max_attempts: int, timeout_at: int = 4_000_000_000_000) -> Any:
    return Durability(max_attempts=max_attempts, timeout_at=timeout_at)


async def _passes(worker: Any) -> bool:
    await asyncio.sleep(0.5)
    return bool(worker.telemetry.counts["started"])
