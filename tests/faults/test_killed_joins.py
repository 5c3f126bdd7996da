"""A worker that is killed while messages join its response, or are settled with it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from flue_sqla import Flue, FlueSettings
from flue_sqla.conversation import verify_stream
from flue_sqla.testing import ManualClock
from flue_sqla.wire import stream_path
from flue_sqla.worker import Context, Worker
from tests.databases.contract import Database
from tests.databases.killing import killed_at_every_statement
from tests.worker.support import QUICK, TIMEOUT

LATER = 3
LEASE_IS_OVER = 60_000


async def chat(ctx: Context) -> int:
    return len(await ctx.joins())


def work(flue: Flue) -> None:
    """Run until everything that is queued has its outcome."""

    async def until_all_is_settled() -> None:
        async with Worker(flue, {"chat": chat}, timing=QUICK):
            while await asyncio.to_thread(flue.submissions.has_unsettled):  # noqa: ASYNC110 -- what is waited for is in the database
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(until_all_is_settled(), TIMEOUT))


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_statement_each_message_is_answered_once(migrated: Database, fault_repeats: int) -> None:
    # Every point of the way is looked at by `nox -s faults`; otherwise a few of them.
    stride = max(1, 20 // fault_repeats)
    quiet = FlueSettings(notify=False)
    with Flue(migrated.url, settings=quiet) as flue:
        admitted = _admit(flue, 0)
    deaths = 0
    for point in killed_at_every_statement(migrated.url, work, stride=stride):
        deaths += 1
        clock = ManualClock(int(time.time() * 1000) + LEASE_IS_OVER)
        with Flue(migrated.url, clock=clock, settings=quiet) as flue:
            work(flue)
            _check(flue, admitted)
        with Flue(migrated.url, settings=quiet) as flue:
            admitted = _admit(flue, point)
    assert deaths * stride > 20, "the points are there"
    with Flue(migrated.url, settings=quiet) as flue:
        _check(flue, admitted)


def _admit(flue: Flue, number: int) -> list[str]:
    """A message and what waits behind it, in a session of their own."""
    return [flue.dispatch("chat", id=str(number), message=str(place)).submission_id for place in range(1 + LATER)]


def _check(flue: Flue, admitted: list[str]) -> None:
    host = flue.submissions.get(admitted[0])
    assert host is not None
    for submission_id in admitted:
        assert flue.wait(submission_id, TIMEOUT).ok
    batches = flue.conversations.read(stream_path("chat", str(host.input["id"])), limit=1000).batches
    verdict = verify_stream((batch.offset, batch.records) for batch in batches)
    assert verdict.broken is None, verdict.broken
    told = Counter((record["type"], record.get("submissionId")) for batch in batches for record in batch.records)
    for submission_id in admitted:
        assert told["user_message", submission_id] == 1
        assert told["submission_settled", submission_id] == 1
