"""Messages that wait behind a busy session join its response: the time to take them in, and the time to settle them with it.

    python -m benchmarks.joins [--joins 100 1000] [--url postgresql+psycopg://…]

On SQLite in a temporary folder unless an asynchronous URL of an empty database is given.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Context, Worker


async def measure(url: str, joins: int) -> tuple[float, float]:
    """Seconds of ``ctx.joins()``, and from there to the outcome."""
    started, go_on = asyncio.Event(), asyncio.Event()
    begun = taken = 0.0

    async def chat(ctx: Context) -> int:
        nonlocal begun, taken
        started.set()
        await go_on.wait()
        begun = time.perf_counter()
        arrived = await ctx.joins()
        taken = time.perf_counter()
        return len(arrived)

    async with AsyncFlue(url) as flue:
        await flue.boot()
        async with Worker(flue, {"chat": chat}):
            session = f"s{joins}"
            host = await flue.dispatch("chat", id=session, message="host")
            await started.wait()
            for number in range(joins):
                await flue.dispatch("chat", id=session, message=f"message {number}")
            go_on.set()
            outcome = await flue.wait(host.submission_id, 600)
            assert outcome.result == joins, outcome
    return taken - begun, time.perf_counter() - taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joins", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--url")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite+aiosqlite:///{Path(folder) / 'joins.db'}"
        for joins in arguments.joins:
            taken, settled = asyncio.run(measure(url, joins))
            print(f"{joins} joins: taken in {taken:.2f} s, settled in {settled:.2f} s")


if __name__ == "__main__":
    main()
