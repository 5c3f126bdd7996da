"""Hundreds of messages that arrive while a session is busy: what is written for each stays, what it costs does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.util import await_only

from flue_sqla import Attempt, Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.records.conversation import StreamBatch
from flue_sqla.testing import ManualClock
from flue_sqla.worker import Context
from flue_sqla.worker.children import Child, NotJoined, settle_as
from tests.conversations.streams import PATH as OWNED
from tests.conversations.streams import owned_stream
from tests.databases.contract import Database
from tests.submissions.inputs import admit_ready, run, status
from tests.worker.support import QUICK, outcome, until, working

PATH = "agents/chat/1"
MANY = 150


async def _batches(flue: AsyncFlue) -> list[StreamBatch]:
    return (await flue.conversations.read(PATH, limit=1000)).batches


class Busy:
    """A session whose handler takes in what waits once it is told to go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started, self.go_on = asyncio.Event(), asyncio.Event()
        self.joined: list[str] = []
        self._error = error

    async def chat(self, ctx: Context) -> int:
        self.started.set()
        await self.go_on.wait()
        self.joined = [delivery.message["body"] for delivery in await ctx.joins()]
        if self._error is not None:
            raise self._error
        return len(self.joined)

    async def admit(self, flue: AsyncFlue, texts: list[str]) -> list[str]:
        """The host and what waits behind it, by id."""
        ids = [(await flue.dispatch("chat", id="1", message="host")).submission_id]
        await self.started.wait()
        return ids + [(await flue.dispatch("chat", id="1", message=text)).submission_id for text in texts]


@pytest.mark.parametrize("error", [None, ValueError("broken")], ids=["completed", "failed"])
async def test_each_is_in_the_stream_in_its_order_and_settled_with_its_host(aflue: AsyncFlue, error: Exception | None) -> None:
    busy, texts = Busy(error), [f"message {number}" for number in range(MANY)]
    async with working(aflue, {"chat": busy.chat}) as worker:
        host, *ids = await busy.admit(aflue, texts)
        commits = _commits(aflue)
        busy.go_on.set()
        ended = await outcome(aflue, host)
        assert (ended.ok, ended.error) == (error is None, error and "broken")
    assert busy.joined == texts
    assert worker.telemetry.counts["joined"] == MANY
    assert worker.telemetry.counts["settled"] == MANY + 1
    batches = await _batches(aflue)
    records = [record for batch in batches for record in batch.records]
    assert [record["submissionId"] for record in records if record["type"] == "user_message"] == [host, *ids]
    assert [record["submissionId"] for record in records if record["type"] == "submission_settled"] == [*ids, host]
    # The contract wants each settlement in a batch of its own (spec/streams.md §3.4).
    assert all(len(batch.records) == 1 for batch in batches if batch.records[0]["type"] == "submission_settled")
    for submission_id in (ids[0], ids[-1]):
        row = await aflue.submissions.get(submission_id)
        assert row is not None
        assert (row.status, row.error, row.attempt_id is not None) == ("settled", error and "broken", True)
    assert len(commits) < MANY, "a transaction for each"


def _commits(flue: AsyncFlue) -> list[None]:
    """Grows with every transaction that is committed from now on."""
    seen: list[None] = []
    event.listen(flue.engine.sync_engine, "commit", lambda _connection: seen.append(None))
    return seen


async def test_long_messages_do_not_share_a_batch(aflue: AsyncFlue) -> None:
    busy, texts = Busy(), ["a" * 200_000, "b" * 200_000, "c", "d" * 2_000_000, "e"]
    async with working(aflue, {"chat": busy.chat}):
        host, *ids = await busy.admit(aflue, texts)
        busy.go_on.set()
        assert (await outcome(aflue, host)).ok
    inputs = [[record["submissionId"] for record in batch.records if record["type"] == "user_message"] for batch in await _batches(aflue)]
    assert [batch for batch in inputs if batch][1:] == [[ids[0]], [ids[1], ids[2]], [ids[3]], [ids[4]]]


async def test_an_abort_settles_all_that_had_joined(aflue: AsyncFlue) -> None:
    joined = asyncio.Event()

    async def chat(ctx: Context) -> None:
        await busy.chat(ctx)
        joined.set()
        await asyncio.Event().wait()

    busy = Busy()
    async with working(aflue, {"chat": chat}):
        host, *ids = await busy.admit(aflue, [str(number) for number in range(MANY)])
        busy.go_on.set()
        await joined.wait()
        row = await aflue.submissions.get(host)
        assert row is not None
        await aflue.submissions.request_abort(row.session_key)
        assert (await outcome(aflue, host)).outcome == "aborted"
        assert [(await outcome(aflue, submission_id)).outcome for submission_id in ids] == ["aborted"] * MANY


async def test_one_that_cannot_be_settled_does_not_hold_the_others(aflue: AsyncFlue, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy()
    async with working(aflue, {"chat": busy.chat}):
        host, *ids = await busy.admit(aflue, ["one", "two", "three"])
        reserve = type(aflue.sync.submissions).reserve_settlement

        def refusing(part: Any, attempt: Attempt, *arguments: Any) -> Any:
            return None if attempt.submission_id == ids[1] else reserve(part, attempt, *arguments)

        monkeypatch.setattr(type(aflue.sync.submissions), "reserve_settlement", refusing)
        busy.go_on.set()
        assert (await outcome(aflue, host)).ok
    # The host's end settles the one that is left over with it (spec/submissions.md §7.12).
    assert [(await outcome(aflue, submission_id)).ok for submission_id in ids] == [True, True, True]
    records = [record for batch in await _batches(aflue) for record in batch.records]
    assert [record["submissionId"] for record in records if record["type"] == "submission_settled"] == [ids[0], ids[2], host]


@pytest.mark.parametrize("count", [1, 3])
async def test_no_other_process_sees_one_half_settled(
    migrated: Database, aflue: AsyncFlue, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """It has no lease that would keep a recovery elsewhere from finishing it, which takes the stream over from the running host."""
    busy, seen = Busy(), []
    finalize = type(aflue.sync.submissions).finalize_settlement

    def looked_at(part: Any, attempt: Attempt, *arguments: Any) -> Any:
        seen.append([obligation.submission_id for obligation in elsewhere.submissions.list_pending_settlements()])
        return finalize(part, attempt, *arguments)

    monkeypatch.setattr(type(aflue.sync.submissions), "finalize_settlement", looked_at)
    with Flue(migrated.url) as elsewhere:
        async with working(aflue, {"chat": busy.chat}):
            host, *_ = await busy.admit(aflue, [str(number) for number in range(count)])
            busy.go_on.set()
            assert (await outcome(aflue, host)).ok
    assert seen == [[]] * count + [[host]]


async def test_a_settlement_that_takes_longer_than_a_lease_keeps_it(
    migrated: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reserving, go_on = ManualClock(), asyncio.Event(), asyncio.Event()
    flue = AsyncFlue(migrated.async_url, artifacts=str(tmp_path), clock=clock)
    reserve = type(flue.sync.submissions).reserve_settlement

    def slow(part: Any, *arguments: Any) -> Any:
        reserving.set()
        await_only(go_on.wait())
        return reserve(part, *arguments)

    async def chat(ctx: Context) -> str:
        return "done"

    async def renewed() -> bool:
        found = await flue.submissions.holdings([host])
        return found[host].lease_expires_at == clock.now() + QUICK.lease_ms

    monkeypatch.setattr(type(flue.sync.submissions), "reserve_settlement", slow)
    try:
        async with working(flue, {"chat": chat}) as worker:
            host = (await flue.dispatch("chat", id="1", message="host")).submission_id
            await reserving.wait()
            for _ in range(3):
                clock.advance(QUICK.lease_ms // 2)
                await until(renewed, seconds=10)
            go_on.set()
            assert (await outcome(flue, host)).result == "done"
        assert worker.telemetry.counts["fenced"] == 0
    finally:
        await flue.close()


class TestSettlingTogether:
    """What the transaction of a group does, and what it does when it is asked twice."""

    @pytest.fixture
    def host(self, flue: Flue) -> Attempt:
        """A running host with two joined deliveries."""
        host = run(flue, "host")
        for name in ("one", "two"):
            admit_ready(flue, name)
        flue.submissions.claim_joinable(host, "assistant")
        assert flue.submissions.finalize_joins(host, ["one", "two"])
        return host

    def test_a_repetition_after_a_lost_answer_writes_nothing(self, flue: Flue, host: Attempt) -> None:
        claim = owned_stream(flue)
        offset = settle_as(flue, OWNED, claim, 0, _children(host), None)
        assert settle_as(flue, OWNED, claim, 0, _children(host), None) == offset
        assert [batch.records for batch in flue.conversations.read(OWNED).batches] == [[dict(child.record)] for child in _children(host)]
        assert [status(flue, name) for name in ("host", "one", "two")] == ["running", "settled", "settled"]

    def test_nothing_is_written_when_one_of_them_has_another_host(self, flue: Flue, host: Attempt) -> None:
        claim = owned_stream(flue)
        admit_ready(flue, "stranger", instance="elsewhere")
        children = _children(host, "one", "stranger", "two")
        with pytest.raises(NotJoined):
            settle_as(flue, OWNED, claim, 0, children, None)
        assert [status(flue, name) for name in ("one", "two")] == ["joined", "joined"]
        assert flue.conversations.read(OWNED).batches == []


def _children(host: Attempt, *names: str) -> list[Child]:
    return [
        Child(
            Attempt(submission_id=name, attempt_id=host.attempt_id),
            {
                "id": f"record-{name}",
                "type": "submission_settled",
                "submissionId": name,
                "attemptId": host.attempt_id,
                "outcome": "completed",
            },
        )
        for name in names or ("one", "two")
    ]
