"""The direct way of an AsyncFlue: few turns between greenlets, and a connection that comes back as it was or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import greenlet
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import ValueTooLargeError
from tests.databases.contract import Database
from tests.direct.at_once import compile_at_once
from tests.submissions.inputs import direct
from tests.submissions.test_round_trips import live_once
from tests.submissions.waiting import until_blocked

pytestmark = pytest.mark.databases("postgres")

TURNS = 4
"""Of an operation, between its greenlet and the event loop: into AUTOCOMMIT, the statement, out again, and the pool's own rollback."""


@pytest.fixture
def hosted(migrated: Database, runner: asyncio.Runner) -> Iterator[AsyncFlue]:
    """An AsyncFlue on a host's engine, with one connection only; psycopg, which is what goes this way, whatever the run is about."""
    engine = create_async_engine(migrated.url, pool_size=1, max_overflow=0, pool_timeout=5, isolation_level="SERIALIZABLE")
    made = AsyncFlue(engine=engine)
    yield made
    runner.run(made.close())
    runner.run(engine.dispose())


async def driver_connection(flue: AsyncFlue) -> psycopg.AsyncConnection[Any]:
    """The driver's connection of the pool's only one."""
    async with flue.engine.connect() as connection:
        lent = await connection.get_raw_connection()
        return lent.driver_connection  # type: ignore[return-value]


async def test_a_whole_life_takes_few_turns_and_leaves_the_connection_as_it_was(hosted: AsyncFlue, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = await driver_connection(hosted)
    await greenlet_spawn(live_once, hosted.sync, "first", "agent-1")

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a Connection was opened")

    resumed = 0

    def count(event: str, between: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        nonlocal resumed
        resumed += event == "switch" and between[1].parent is not None

    with monkeypatch.context() as patch:
        patch.setattr(sa.Connection, "__init__", refused)
        before = greenlet.settrace(count)
        try:
            await greenlet_spawn(live_once, hosted.sync, "second", "agent-2")
        finally:
            greenlet.settrace(before)
    assert resumed == 1 + TURNS * 16
    assert await driver_connection(hosted) is driver
    assert not driver.autocommit
    assert driver.isolation_level is psycopg.IsolationLevel.SERIALIZABLE
    assert driver.info.transaction_status is TransactionStatus.IDLE


async def test_a_refused_value_costs_no_connection(hosted: AsyncFlue, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_at_once(monkeypatch)
    driver = await driver_connection(hosted)
    with pytest.raises(ValueTooLargeError) as refused:
        await hosted.conversations.create("".join(chr(0x4E00 + n * 7 % 20_000) for n in range(5_000)), "assistant", "agent-1")
    assert isinstance(refused.value.__cause__, DBAPIError)
    assert await driver_connection(hosted) is driver
    assert not driver.autocommit


@asynccontextmanager
async def blocked(flue: AsyncFlue, migrated: Database) -> AsyncIterator[asyncio.Future[Any]]:
    """A call that waits in the server until the block ends."""
    await flue.submissions.admit_direct(direct("one"))
    with sa.create_engine(migrated.url).begin() as lock:
        lock.execute(sa.text("SELECT 1 FROM flue_agent_submissions FOR UPDATE"))
        waiting = asyncio.ensure_future(flue.submissions.mark_ready("one"))
        await asyncio.to_thread(until_blocked, migrated, waiting)
        yield waiting


async def test_a_connection_that_dies_under_a_statement(hosted: AsyncFlue, migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt goes the ordinary way, on another connection."""
    compile_at_once(monkeypatch)
    driver = await driver_connection(hosted)
    async with blocked(hosted, migrated) as waiting:
        migrated.admin_execute(f"SELECT pg_terminate_backend({driver.info.backend_pid}, 5000)")
    ready = await waiting
    assert ready is not None
    assert ready.canonical_ready_at is not None
    assert await driver_connection(hosted) is not driver


async def test_a_call_cancelled_while_the_server_works(hosted: AsyncFlue, migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_at_once(monkeypatch)
    driver = await driver_connection(hosted)
    async with blocked(hosted, migrated) as waiting:
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert driver.closed
    stored = await hosted.submissions.get("one")
    assert stored is not None
    assert stored.canonical_ready_at is None
