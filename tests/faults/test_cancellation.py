"""An awaited call cancelled at each of its steps did everything or nothing, and leaves no connection, transaction or task behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from flue_sqla import Attempt
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.wire import stream_path
from tests.submissions.inputs import FAR_AWAY, direct, dispatch

STEPS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 25)
"""After how many turns of the event loop a call is cancelled."""


async def cancel_after(steps: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Cancel ``call`` after so many turns of the loop; whether it had ended before."""
    task = asyncio.ensure_future(call())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


async def nothing_left(aflue: AsyncFlue) -> None:
    """No task but this one is alive, and no connection is out, once the shielded clean-up has ended."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if others:
        await asyncio.wait(others, timeout=60)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert aflue.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_cancelled_claim(aflue: AsyncFlue) -> None:
    for steps in STEPS:
        name = f"s{steps}"
        await aflue.submissions.admit_dispatch(dispatch(name, instance=name))
        await aflue.submissions.mark_ready(name)
        await cancel_after(
            steps, lambda name=name: aflue.submissions.claim(name, attempt_id="mine", owner_id="o", lease_expires_at=FAR_AWAY)
        )
        await nothing_left(aflue)
        stored = await aflue.submissions.get(name)
        assert stored is not None
        assert (stored.status, stored.attempt_id, stored.attempt_count) in {("queued", None, 0), ("running", "mine", 1)}


async def test_a_cancelled_append(aflue: AsyncFlue) -> None:
    path = stream_path("assistant", "agent-1")
    await aflue.conversations.create(path, "assistant", "agent-1")
    producer = await aflue.conversations.acquire_producer(path, "owner")
    fence = {"producer_id": "owner", "producer_epoch": producer.producer_epoch, "incarnation": producer.incarnation}
    for steps in STEPS:
        meta = await aflue.conversations.get_meta(path)
        assert meta is not None
        sequence = meta.next_producer_sequence
        records = [{"id": f"record-{sequence}"}]
        await cancel_after(steps, lambda n=sequence, r=records: aflue.conversations.append(path, **fence, producer_sequence=n, records=r))
        await nothing_left(aflue)
        # A writer that does not know repeats exactly this call (spec/lifecycle.md §4).
        await aflue.conversations.append(path, **fence, producer_sequence=sequence, records=records)
    page = await aflue.conversations.read(path)
    assert [batch.records[0]["id"] for batch in page.batches] == [f"record-{n}" for n in range(len(STEPS))]


async def test_a_cancelled_unit(aflue: AsyncFlue) -> None:
    async def unit_of_work(steps: int) -> None:
        async with aflue.begin() as unit:
            await unit.submissions.admit_direct(direct(f"a{steps}", instance=f"a{steps}"))
            await unit.submissions.admit_direct(direct(f"b{steps}", instance=f"b{steps}"))

    for steps in (*STEPS, 40, 60):
        await cancel_after(steps, lambda steps=steps: unit_of_work(steps))
        await nothing_left(aflue)
        first, second = await aflue.submissions.get(f"a{steps}"), await aflue.submissions.get(f"b{steps}")
        assert (first is None) == (second is None)


async def test_a_cancelled_settlement(aflue: AsyncFlue) -> None:
    for steps in STEPS:
        name = f"s{steps}"
        await aflue.submissions.admit_dispatch(dispatch(name, instance=name))
        await aflue.submissions.mark_ready(name)
        await aflue.submissions.claim(name, attempt_id="mine", owner_id="o", lease_expires_at=FAR_AWAY)
        attempt = Attempt(submission_id=name, attempt_id="mine")
        await cancel_after(steps, lambda a=attempt: aflue.submissions.fail(a, "broken"))
        await nothing_left(aflue)
        stored = await aflue.submissions.get(name)
        assert stored is not None
        assert (stored.status, stored.error) in {("running", None), ("settled", "broken")}


async def test_a_cancelled_follower(aflue: AsyncFlue) -> None:
    path = stream_path("assistant", "agent-1")
    await aflue.conversations.create(path, "assistant", "agent-1")

    async def follow() -> None:
        async for _batch in aflue.conversations.follow(path):
            pass

    for steps in STEPS:
        assert not await cancel_after(steps, follow)
    # The listener is one per Flue and lives as long; everything else of a follower is gone.
    assert aflue.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert aflue.sync.signals._listeners == {}


@pytest.mark.databases("postgres")
async def test_a_call_cancelled_while_its_connection_is_made_ready(aflue: AsyncFlue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switching to AUTOCOMMIT sends nothing, but it waits for the driver's lock: the connection is out of the pool by then."""

    async def cancelled(*_: Any) -> None:
        raise asyncio.CancelledError

    await aflue.submissions.get("nobody")  # opens the connection
    for _way in ("SQLAlchemy's own, for the first time of a statement", "the direct one"):
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.AsyncConnection, "set_autocommit", cancelled)
            # Kept, with the frames of its traceback: what it leaves behind must not be found by the garbage collector only.
            with pytest.raises(asyncio.CancelledError) as _kept:
                await aflue.submissions.has_unsettled()
        await nothing_left(aflue)
        assert not await aflue.submissions.has_unsettled()
