"""The awaited face of sessions, and what an operator awaits."""

from __future__ import annotations

import asyncio

import pytest

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import SessionConflictError
from tests.sessions.documents import KEY, chain, compaction, document, ids, message, picture
from tests.submissions.inputs import direct


async def test_long_conversations(aflue: AsyncFlue) -> None:
    await aflue.sessions.save(KEY, document(chain(3)))
    pictured = message("p", "e2", [picture("A" * 300_000)])
    assert await aflue.sessions.append(KEY, [pictured, compaction("c", "p", "p")], expected_leaf="e2") == "c"
    assert await aflue.sessions.append(KEY, [message("f", "c")]) == "f"
    assert ids(await aflue.sessions.context(KEY)) == ["c", "p", "f"]
    assert (await aflue.sessions.tail(KEY, 3))[0] == pictured
    with pytest.raises(SessionConflictError):
        await aflue.sessions.append(KEY, [message("g", "e2")], expected_leaf="e2")
    loaded = await aflue.sessions.load(KEY)
    assert loaded is not None
    assert ids(loaded["entries"]) == ["e0", "e1", "e2", "p", "c", "f"]
    async with aflue.begin() as unit:
        await unit.sessions.append(KEY, [message("g", "f")], expected_leaf="f")
        await unit.sessions.delete("unknown")
    await aflue.sessions.delete_tree(KEY)
    assert await aflue.sessions.load(KEY) is None


async def test_of_many_appends_that_expect_one_leaf_one_wins(aflue: AsyncFlue) -> None:
    await aflue.sessions.save(KEY, document(chain(1)))
    calls = [aflue.sessions.append(KEY, [message(f"m{n}", "e0")], expected_leaf="e0") for n in range(5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(isinstance(outcome, SessionConflictError) for outcome in outcomes) == [False, True, True, True, True]
    assert len(await aflue.sessions.context(KEY)) == 2


async def test_the_queue_and_a_prune(aflue: AsyncFlue) -> None:
    await aflue.submissions.admit_direct(direct("old"))
    report = await aflue.status()
    assert [(agent.agent, agent.queued, agent.unready) for agent in report.agents] == [("assistant", 1, 1)]
    await aflue.submissions.settle_queued("old", "failed", "no")
    told = await aflue.prune(older_than=0, keep_last=0, instances=[("assistant", "agent-1")], dry_run=True)
    assert told.deleted["flue_agent_submissions"] >= 1
    done = await aflue.prune(instances=[("assistant", "agent-1")])
    assert done.deleted["flue_agent_submissions"] == 1
