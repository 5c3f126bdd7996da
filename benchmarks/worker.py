"""Trivial submissions on PostgreSQL: throughput with 1, 2 and 4 worker processes, and the time from a dispatch to the start of its work.

    python -m benchmarks.worker [--submissions 2000] [--probes 300] [--url postgresql+psycopg://…]

Throughput: everything is admitted and ready before the first worker starts; the clock runs from the first start to the last outcome, by
the rows. Latency: one process dispatches, another one's handler notes the wall clock at its first line; both clocks are this host's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from benchmarks.servers import postgres
from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.models.tables import submissions
from flue_sqla.worker import Context, Worker

ROOT = Path(__file__).parents[1]
SESSIONS = 200


async def trivial(_ctx: Context) -> float:
    """Answers with the time at which it started, in seconds of the epoch."""
    return time.time()


def worker() -> Worker:
    """What the worker processes run."""
    return Worker(AsyncFlue(os.environ["BENCHMARK_URL"]), agents={"trivial": trivial}, concurrency=16)


def start_workers(url: str, count: int) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "flue_sqla.cli", "worker", "benchmarks.worker:worker", "--log-level", "warning"]
    environment = {**os.environ, "BENCHMARK_URL": url, "PYTHONPATH": str(ROOT)}
    return [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) for _ in range(count)]


def stop_workers(workers: list[subprocess.Popen[bytes]]) -> None:
    for process in workers:
        process.terminate()
    for process in workers:
        process.wait(30)


def throughput(flue: Flue, url: str, processes: int, count: int) -> float:
    """Submissions per second."""
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda n: _dispatch(flue, f"b{processes}-{n % SESSIONS}", n), range(count)))
    workers = start_workers(url, processes)
    try:
        for submission_id in ids:
            flue.wait(submission_id, 300)
    finally:
        stop_workers(workers)
    first, last = _span(flue, f'%["trivial","b{processes}-%')
    return count / max(0.001, (last - first) / 1000)


def latencies(flue: Flue, url: str, count: int, instances: int) -> list[float]:
    """Milliseconds from before the dispatch to the first line of the handler; each of ``instances`` exists already."""
    workers = start_workers(url, 1)
    found = []
    try:
        for number in range(count + instances):
            started = time.time()
            outcome = flue.wait(_dispatch(flue, f"latency-{instances}-{number % instances}", number), 60)
            if number >= instances:
                found.append((outcome.result - started) * 1000)
    finally:
        stop_workers(workers)
    return found


def _dispatch(flue: Flue, instance_id: str, number: int) -> str:
    return flue.dispatch("trivial", id=instance_id, message=str(number)).submission_id


def _span(flue: Flue, keys: str) -> tuple[int, int]:
    statement = sa.select(sa.func.min(submissions.c.started_at), sa.func.max(submissions.c.settled_at))
    with flue.engine.connect() as connection:
        first, last = connection.execute(statement.where(submissions.c.session_key.like(keys))).one()
    return first, last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=2_000)
    parser.add_argument("--probes", type=int, default=300)
    parser.add_argument("--url", help="An empty PostgreSQL database; default a server of its own.")
    arguments = parser.parse_args()
    with postgres(arguments.url) as url, Flue(url) as flue:
        flue.boot()
        print(f"{arguments.submissions} trivial submissions over {SESSIONS} sessions, 16 at once per process")
        for processes in (1, 2, 4):
            print(f"  {processes} worker process(es): {throughput(flue, url, processes, arguments.submissions):8.0f} submissions/s")
        found = latencies(flue, url, arguments.probes, instances=20)
        cuts = statistics.quantiles(found, n=100)
        print(f"dispatch in one process to start in another, {len(found)} probes, notifications on")
        print(f"  p50 {statistics.median(found):.1f} ms   p99 {cuts[98]:.1f} ms   worst {max(found):.1f} ms")


if __name__ == "__main__":
    main()
