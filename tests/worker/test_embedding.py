"""A worker inside a host: with a web application and the host's own sessions on one event loop, which nothing blocks."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import ConfigurationError
from flue_sqla.worker import BlockingContext, Context, Worker
from tests.worker.support import TIMEOUT, working

ORDERS = Table("host_orders", MetaData(), Column("id", Integer, primary_key=True), Column("submission_id", String(64)))
REQUESTS = 60
SLEEP_SECONDS = 0.6
TICK_SECONDS = 0.005
#: What blocks the loop blocks it for as long as a handler sleeps; a busy machine delays it by less.
LONGEST_STALL_SECONDS = 0.4


class Stalls:
    """The longest time for which the event loop did not come round, and for which a bare thread did not: the machine's share of it."""

    def __init__(self) -> None:
        self.of_the_loop = 0.0
        self.of_the_machine = 0.0
        self._over = threading.Event()

    async def watch(self) -> None:
        control = threading.Thread(target=self._control)
        control.start()
        try:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(TICK_SECONDS)
                self.of_the_loop = max(self.of_the_loop, time.perf_counter() - before - TICK_SECONDS)
        finally:
            self._over.set()
            control.join()

    def _control(self) -> None:
        while not self._over.is_set():
            before = time.perf_counter()
            self._over.wait(TICK_SECONDS)
            self.of_the_machine = max(self.of_the_machine, time.perf_counter() - before - TICK_SECONDS)


def _application(flue: AsyncFlue, sessions: async_sessionmaker[AsyncSession]) -> FastAPI:
    application = FastAPI()

    @application.post("/orders/{number}")
    async def order(number: int) -> dict[str, Any]:
        async with sessions.begin() as session:
            receipt = await flue.bind(session).dispatch("slow" if number % 2 else "quick", id=f"o{number % 7}", message=str(number))
            await session.execute(insert(ORDERS).values(id=number + 1, submission_id=receipt.submission_id))
        return {"submission": receipt.submission_id}

    return application


def slow(ctx: BlockingContext) -> int:
    """Blocks its thread, as a host's own old code does."""
    ctx.step("sleep", time.sleep, SLEEP_SECONDS)
    return sum(ctx.step(f"count {n}", lambda: sum(range(20_000))) for n in range(3))


async def quick(ctx: Context) -> str:
    await ctx.step("sleep", time.sleep, SLEEP_SECONDS)
    return str(ctx.message["body"])


@pytest.mark.slow
async def test_nothing_blocks_the_hosts_event_loop(aflue: AsyncFlue) -> None:
    sessions = async_sessionmaker(aflue.engine, expire_on_commit=False)
    async with aflue.engine.begin() as connection:
        await connection.run_sync(ORDERS.create)
    transport = httpx.ASGITransport(_application(aflue, sessions))
    stalls = Stalls()
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client, working(aflue, {"slow": slow, "quick": quick}):
        watching = asyncio.create_task(stalls.watch())
        answers = []
        for number in range(REQUESTS):
            answers.append(await client.post(f"/orders/{number}"))
        outcomes = [await aflue.wait(answer.json()["submission"], TIMEOUT) for answer in answers]
        watching.cancel()
    assert all(outcome.ok for outcome in outcomes)
    async with sessions() as session:
        stored = (await session.execute(select(ORDERS.c.submission_id).order_by(ORDERS.c.id))).scalars().all()
    assert stored == [outcome.submission_id for outcome in outcomes]
    stall = stalls.of_the_loop - stalls.of_the_machine
    assert stall < LONGEST_STALL_SECONDS, f"the loop stood still for {stalls.of_the_loop:.3f} s, a thread for {stalls.of_the_machine:.3f} s"


@pytest.mark.parametrize("agents", [{}, ["triage"], {"triage": "shop.triage"}])
def test_a_worker_says_how_agents_are_given(agents: Any, memory_flue: Flue) -> None:
    with pytest.raises(ConfigurationError):
        Worker(memory_flue, agents=agents)


@pytest.mark.parametrize("handler", [lambda: None, lambda ctx, order: None, lambda *, ctx: None])
def test_a_handler_that_the_context_does_not_fit_is_refused_at_once(handler: Any, memory_flue: Flue) -> None:
    """Rather than by the failure of each of its submissions."""
    with pytest.raises(ConfigurationError, match="context alone"):
        Worker(memory_flue, agents={"triage": handler})


@pytest.mark.parametrize("handler", [lambda ctx: None, lambda *all: None, lambda ctx, order=None: None, functools.partial(pow, 2), print])
def test_a_handler_may_take_more_than_it_is_given(handler: Any, memory_flue: Flue) -> None:
    assert Worker(memory_flue, agents={"triage": handler}).agents["triage"].handler is handler


def test_a_worker_is_given_a_flue_and_no_url() -> None:
    with pytest.raises(ConfigurationError, match="found str"):
        Worker("sqlite:///shop.db", agents={"triage": print})  # type: ignore[arg-type]
