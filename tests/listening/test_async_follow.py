"""``async for batch in flue.conversations.follow(path)``: the same as on threads, and cancellable anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError
from flue_sqla.records import ProducerClaim
from tests.databases.contract import Database
from tests.listening.support import PATH, SOON, settings

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()"


class Writer:
    """The producer of one stream."""

    def __init__(self, flue: AsyncFlue, claim: ProducerClaim) -> None:
        self.flue = flue
        self.claim = claim
        self.written = 0

    @classmethod
    async def start(cls, flue: AsyncFlue) -> Writer:
        await flue.conversations.create(PATH, "echo", "contract")
        return cls(flue, await flue.conversations.acquire_producer(PATH, "writer"))

    async def append(self) -> str:
        offset = await self.flue.conversations.append(
            PATH,
            producer_id=self.claim.producer_id,
            producer_epoch=self.claim.producer_epoch,
            incarnation=self.claim.incarnation,
            producer_sequence=self.written,
            records=[{"id": f"record_{self.written}"}],
        )
        self.written += 1
        return offset


@asynccontextmanager
async def flues(database: Database, count: int = 1, *, driver: str | None = None, **changes: Any) -> AsyncIterator[list[AsyncFlue]]:
    url = database.async_url if driver is None else database.async_url.replace("+psycopg:", f"+{driver}:")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(AsyncFlue(url, settings=settings(**changes))) for _ in range(count)]


async def listening(flue: AsyncFlue) -> None:
    listener = flue.listener.listener
    assert listener is not None
    listener.ensure()
    assert await listener.wait_until_listening(SOON)


async def looks(reading: Any) -> None:
    """Until the follower of this task sits in its wait."""
    for _ in range(10_000):
        await asyncio.sleep(0.005)
        if reading._waiter is not None and reading._waiter._woken._waiters:
            return
    raise AssertionError("the follower does not wait")


async def next_id(reading: Any) -> str:
    async with asyncio.timeout(SOON):
        batch = await anext(reading)
    return str(batch.records[0]["id"])


async def test_what_is_there_comes_first_and_then_what_is_appended(migrated: Database) -> None:
    async with flues(migrated) as (flue,):
        writer = await Writer.start(flue)
        await writer.append()
        async with flue.conversations.follow(PATH) as reading:
            assert await next_id(reading) == "record_0"
            coming = asyncio.create_task(next_id(reading))
            await looks(reading)
            await writer.append()
            assert await coming == "record_1"


async def test_closing_the_iterator_or_the_flue_ends_it(migrated: Database) -> None:
    async with flues(migrated) as (flue,):
        await Writer.start(flue)
        for close in (lambda reading: reading.aclose(), lambda _reading: flue.close()):
            reading = flue.conversations.follow(PATH)
            ended = asyncio.create_task(_collect(reading))
            await looks(reading)
            await close(reading)
            async with asyncio.timeout(SOON):
                assert await ended == []
        with pytest.raises(InvalidInputError):
            flue.conversations.follow(PATH, "first")
        assert await _collect(flue.conversations.follow(PATH, idle_timeout_ms=1)) == []


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_an_append_of_another_process_wakes_without_polling(migrated: Database, driver: str) -> None:
    async with flues(migrated, 2, driver=driver) as (here, other):
        writer = await Writer.start(other)
        await listening(here)
        async with here.conversations.follow(PATH) as reading:
            coming = asyncio.create_task(next_id(reading))
            await looks(reading)
            await writer.append()
            assert await coming == "record_0"
        assert len(migrated.admin_execute(LISTENERS)) == 1
        await here.close()
        assert await _gone(lambda: migrated.admin_execute(LISTENERS) == [])


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_lost_listener_comes_back_and_wakes_whoever_waits(migrated: Database, driver: str) -> None:
    async with flues(migrated, 2, driver=driver) as (here, other):
        writer = await Writer.start(other)
        await listening(here)
        reading = here.conversations.follow(PATH)
        coming = asyncio.create_task(next_id(reading))
        await looks(reading)
        other.sync.signals.notify = False
        await writer.append()
        migrated.admin_execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) listeners")
        assert await coming == "record_0"


@pytest.mark.faults
@pytest.mark.databases("postgres")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_following_survives_a_restart_of_the_server(migrated: Database, driver: str) -> None:
    async with flues(migrated, 2, driver=driver, poll_interval_ms=50) as (here, other):
        writer = await Writer.start(other)
        await listening(here)
        reading = here.conversations.follow(PATH)
        coming = asyncio.create_task(next_id(reading))
        await looks(reading)
        await asyncio.to_thread(migrated.restart, immediate=True)
        await writer.append()
        assert await coming == "record_0"


async def test_cancelling_at_any_point_leaves_nothing_and_loses_nothing(migrated: Database) -> None:
    """Cancelled after 0, 1, 2 … turns of the event loop, then after ever longer times, until the follower gets through to its wait."""
    async with flues(migrated) as (flue,):
        await Writer.start(flue)
        before = asyncio.all_tasks()
        reading = flue.conversations.follow(PATH)
        through = 0
        for steps in range(600):
            task = asyncio.create_task(anext(reading))  # type: ignore[arg-type]
            for _ in range(min(steps, 60)):
                await asyncio.sleep(0)
            if steps > 60:
                await asyncio.sleep((steps - 60) / 4_000)
            through += reading._waiter is not None and bool(reading._waiter._woken._waiters)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not flue.sync.signals._listeners
            assert not flue.listener._open
            assert flue.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            if through == 3:
                break
        assert through == 3
        own = {task.get_name() for task in asyncio.all_tasks() - before}
        assert own <= {"flue-listener", "flue-listener-pump"}, "the one listener belongs to the Flue, until that is closed"
        await (await Writer.start(flue)).append()
        assert await next_id(reading) == "record_0"


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_stopping_the_listener_at_any_point_leaves_no_connection(migrated: Database, driver: str) -> None:
    async with flues(migrated, driver=driver) as (flue,):
        await Writer.start(flue)
        listener = flue.listener.listener
        assert listener is not None
        for steps in range(60):
            listener.ensure()
            for _ in range(steps):
                await asyncio.sleep(0.001 if steps > 30 else 0)
            await listener.stop()
            assert not listener.listening
        await flue.close()
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert await _gone(lambda: migrated.admin_execute(count) == [(0,)])


@pytest.mark.databases("postgres")
def test_one_flue_in_one_event_loop_after_another(migrated: Database) -> None:
    flue = AsyncFlue(migrated.async_url, settings=settings())

    async def live(number: int) -> None:
        await listening(flue)
        writer = await Writer.start(flue)
        reading = flue.conversations.follow(PATH, "now")
        coming = asyncio.create_task(next_id(reading))
        await looks(reading)
        await writer.append()
        assert await coming == "record_0"
        if number:
            await flue.close()
        else:
            await flue.engine.dispose()

    for number in range(2):
        asyncio.run(live(number))


async def _collect(reading: Any) -> list[Any]:
    return [batch async for batch in reading]


async def _gone(condition: Callable[[], bool]) -> bool:
    """The server notices a closed socket in its own time."""
    for _ in range(5_000):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False
