"""Workers for tests: quick timers, and a worker that runs for the length of a block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from flue_sqla import Flue, Outcome
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.conversation import verify_stream
from flue_sqla.worker import Timing, Worker

#: Nothing waits long: everything is looked at several times a second. The lease bears a stalled machine; a dead worker's ends at once.
QUICK = Timing(
    lease_ms=8_000,
    heartbeat_ms=500,
    watch_ms=50,
    scan_ms=150,
    grace_ms=300,
    shutdown_ms=2_000,
    error_pause_ms=50,
    unready_ms=20,
    retry_ms=10,
)

TIMEOUT = 60.0


@contextlib.asynccontextmanager
async def working(flue: Flue | AsyncFlue, agents: Mapping[str, Any], **options: Any) -> AsyncIterator[Worker]:
    """A worker in the background of the test."""
    worker = Worker(flue, agents, **{"timing": QUICK, **options})
    async with worker:
        yield worker


async def outcome(flue: AsyncFlue, submission_id: str) -> Outcome:
    """Wait for an outcome as a caller would."""
    return await flue.wait(submission_id, TIMEOUT)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = TIMEOUT) -> Any:
    """Wait until the awaited condition holds; its value."""
    async with asyncio.timeout(seconds):
        while not (value := await condition()):  # noqa: ASYNC110 -- what is waited for is in the database
            await asyncio.sleep(0.02)
        return value


async def records(flue: AsyncFlue, path: str) -> list[dict[str, Any]]:
    """The whole stream."""
    page = await flue.conversations.read(path, limit=1000)
    return [record for batch in page.batches for record in batch.records]


async def assert_readable(flue: AsyncFlue, path: str) -> None:
    """A Flue server of either release would fold this stream."""
    page = await flue.conversations.read(path, limit=1000)
    verdict = verify_stream((batch.offset, batch.records) for batch in page.batches)
    assert verdict.broken is None, verdict.broken


async def interrupted(worker: Worker) -> bool:
    """Whether something that runs has been asked to end."""
    return any(execution.interruption is not None for execution in worker._executions.values())
