"""Whoever cancels an awaited call has cancelled it, whatever the driver does with the exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy.pool import QueuePool

from flue_sqla.asyncio import AsyncFlue


async def unit(aflue: AsyncFlue, turn: int) -> None:
    async with aflue.begin() as joined:
        await joined.submissions.get("one")


Call = Callable[[AsyncFlue, int], Coroutine[Any, Any, object]]
CALLS: dict[str, Call] = {
    "get": lambda aflue, turn: aflue.submissions.get("one"),
    "dispatch": lambda aflue, turn: aflue.dispatch("triage", id="one", message="hello", idempotency_key=str(turn)),
    "status": lambda aflue, turn: aflue.status(),
    "unit": unit,
    "append": lambda aflue, turn: aflue.events.append("runs/one", {"turn": turn}),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_cancellation_counts_wherever_it_arrives(aflue: AsyncFlue, call: str) -> None:
    """asyncmy, for one, goes on reading when it is cancelled; a timeout around such a call would be lost."""
    await aflue.events.create("runs/one")
    for turn in [*range(1, 40)] * 3:
        task = asyncio.ensure_future(CALLS[call](aflue, turn))
        for _ in range(turn):
            await asyncio.sleep(0)
        if task.cancel():
            await asyncio.wait([task])
            assert task.cancelled()
    connections = aflue.engine.pool
    assert not isinstance(connections, QueuePool) or connections.checkedout() == 0
