"""The worker of the soak: an agent whose every step returns something new each time it is really run, over an unreliable store."""

from __future__ import annotations

import os
import random
import uuid
from typing import Any

from flue_sqla.artifacts.local import LocalStore
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import ArtifactStoreError
from flue_sqla.worker import Agent, Context, Timing, Worker

STEPS = 4
FAILING = 0.05
TIMING = Timing(
    lease_ms=4_000, heartbeat_ms=800, watch_ms=500, scan_ms=700, shutdown_ms=4_000, error_pause_ms=100, unready_ms=200, retry_ms=50
)


def step(number: int) -> str:
    """A value that no second run would give again."""
    return f"{number}-{uuid.uuid4().hex}"


async def soak(ctx: Context) -> list[Any]:
    values = [await ctx.step(f"step {number}", step, number) for number in range(STEPS)]
    await ctx.append({"type": "signal", "signalType": "progress", "content": values[-1]})

    async def store() -> str:
        for earlier in (await ctx.artifacts.list()).artifacts:
            return earlier.id
        return (await ctx.artifacts.put("\n".join(values).encode() * 50, name="values.txt")).id

    return [*values, await ctx.step("store", store)]


def _unreliable(name: str) -> None:
    """Let the named call of the store fail now and then, before or after it did its work."""
    original = getattr(LocalStore, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if random.random() < FAILING / 2:
            print("injected store failure", flush=True)
            raise ArtifactStoreError("Injected: the store failed before the call.", meta={"reason": "injected"})
        result = original(*args, **kwargs)
        if random.random() < FAILING / 2:
            print("injected store failure", flush=True)
            raise ArtifactStoreError("Injected: the answer of the store was lost.", meta={"reason": "injected"})
        return result

    setattr(LocalStore, name, call)


def worker() -> Worker:
    """Configured by SOAK_DATABASE and SOAK_ARTIFACTS."""
    for name in ("begin", "open", "stat", "delete"):
        _unreliable(name)
    flue = AsyncFlue(os.environ["SOAK_DATABASE"], artifacts=os.environ["SOAK_ARTIFACTS"])
    agent = Agent(soak, max_attempts=1_000, retry_on=(ArtifactStoreError,), max_retries=20)
    return Worker(flue, agents={"soak": agent}, concurrency=8, timing=TIMING)
