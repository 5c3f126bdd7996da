"""How fast one submission lives, from admission to outcome with five appends, beside the same statements sent by psycopg alone.

    python -m benchmarks.lifecycle [--url postgresql+psycopg://…] [--lives 400]

Prints lives per second and milliseconds per operation at 1, 8 and 16 concurrent lives, sync and async, with notifications on and
off. Without ``--url`` it starts a PostgreSQL server of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event

from benchmarks.servers import postgres
from flue_sqla import Attempt, DirectInput, Flue, FlueSettings
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.wire import new_id, stream_path

OPERATIONS = 16
APPENDS = 5
ROUNDS = 3
FAR_AWAY = 4_000_000_000_000


def live(flue: Flue, submission_id: str, instance: str) -> None:
    """One life."""
    path, attempt = stream_path("bench", instance), Attempt(submission_id=submission_id, attempt_id=f"a{submission_id}")
    flue.submissions.admit_direct(
        DirectInput(submission_id=submission_id, agent="bench", id=instance, message={"kind": "user", "body": "Hello"})
    )
    flue.conversations.create(path, "bench", instance)
    flue.submissions.mark_ready(submission_id)
    flue.submissions.claim(submission_id, attempt_id=attempt.attempt_id, owner_id="owner", lease_expires_at=FAR_AWAY)
    producer = flue.conversations.acquire_producer(path, "owner")
    flue.submissions.mark_input_applied(attempt)
    fence: dict[str, Any] = {"producer_id": "owner", "producer_epoch": producer.producer_epoch, "incarnation": producer.incarnation}
    owned = {"submissionId": submission_id, "attemptId": attempt.attempt_id}
    for n in range(APPENDS):
        flue.conversations.append(path, **fence, producer_sequence=n, records=[{"id": f"record-{n}", **owned}], submission=attempt)
    flue.conversations.read(path)
    settled = {"id": "settled", "type": "submission_settled", **owned, "outcome": "completed"}
    flue.submissions.reserve_settlement(attempt, "settled", settled)
    flue.conversations.append(path, **fence, producer_sequence=APPENDS, records=[settled], submission=attempt)
    assert flue.submissions.finalize_settlement(attempt, "settled")
    assert flue.submissions.get(submission_id)


async def live_async(flue: AsyncFlue, submission_id: str, instance: str) -> None:
    """The same life, awaited."""
    path, attempt = stream_path("bench", instance), Attempt(submission_id=submission_id, attempt_id=f"a{submission_id}")
    await flue.submissions.admit_direct(
        DirectInput(submission_id=submission_id, agent="bench", id=instance, message={"kind": "user", "body": "Hello"})
    )
    await flue.conversations.create(path, "bench", instance)
    await flue.submissions.mark_ready(submission_id)
    await flue.submissions.claim(submission_id, attempt_id=attempt.attempt_id, owner_id="owner", lease_expires_at=FAR_AWAY)
    producer = await flue.conversations.acquire_producer(path, "owner")
    await flue.submissions.mark_input_applied(attempt)
    fence: dict[str, Any] = {"producer_id": "owner", "producer_epoch": producer.producer_epoch, "incarnation": producer.incarnation}
    owned = {"submissionId": submission_id, "attemptId": attempt.attempt_id}
    for n in range(APPENDS):
        await flue.conversations.append(path, **fence, producer_sequence=n, records=[{"id": f"record-{n}", **owned}], submission=attempt)
    await flue.conversations.read(path)
    settled = {"id": "settled", "type": "submission_settled", **owned, "outcome": "completed"}
    await flue.submissions.reserve_settlement(attempt, "settled", settled)
    await flue.conversations.append(path, **fence, producer_sequence=APPENDS, records=[settled], submission=attempt)
    assert await flue.submissions.finalize_settlement(attempt, "settled")
    assert await flue.submissions.get(submission_id)


class Floor:
    """The statements of one life as they were sent, replayed by psycopg with other ids: what is left without this library."""

    def __init__(self, url: sa.URL, settings: FlueSettings) -> None:
        self._statements: list[tuple[str, dict[str, Any]]] = []
        self._submission_id, self._instance = new_id("sub"), new_id("inst")

        def record(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
            self._statements.append((statement, dict(parameters)))

        # An engine of its own: one that ever had a listener stays slower, and takes another way through SQLAlchemy.
        with Flue(url, settings=settings) as flue:
            event.listen(flue.engine, "before_cursor_execute", record)
            live(flue, self._submission_id, self._instance)
        assert len(self._statements) == OPERATIONS

    def live(self, connection: psycopg.Connection[Any], submission_id: str, instance: str) -> None:
        for statement, parameters in self._statements:
            renamed = {
                name: value.replace(self._submission_id, submission_id).replace(self._instance, instance)
                if isinstance(value, str)
                else value
                for name, value in parameters.items()
            }
            connection.execute(statement, renamed).fetchall() if "SELECT" in statement or "RETURNING" in statement else connection.execute(
                statement, renamed
            )


def on_threads(count: int, lives: int, life: Callable[[int, str, str], Any]) -> float:
    """Lives per second of ``count`` threads that share ``lives``."""

    def work(n: int) -> None:
        for _ in range(lives // count):
            life(n, new_id("sub"), new_id("inst"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (lives // count) * count / (time.perf_counter() - started)


def measure_floor(url: sa.URL, floor: Floor, count: int, lives: int, prepare_threshold: int | None = 5) -> float:
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connections = [psycopg.connect(conninfo, autocommit=True, prepare_threshold=prepare_threshold) for _ in range(count)]
    try:
        return on_threads(count, lives, lambda n, submission_id, instance: floor.live(connections[n], submission_id, instance))
    finally:
        for connection in connections:
            connection.close()


def measure_sync(flue: Flue, count: int, lives: int) -> float:
    return on_threads(count, lives, lambda _n, submission_id, instance: live(flue, submission_id, instance))


async def measure_async(url: sa.URL, settings: FlueSettings, count: int, lives: int) -> float:
    async with AsyncFlue(url, settings=settings) as flue:

        async def work() -> None:
            for _ in range(lives // count):
                await live_async(flue, new_id("sub"), new_id("inst"))

        await live_async(flue, new_id("sub"), new_id("inst"))
        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(count)))
        return (lives // count) * count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--lives", type=int, default=400)
    options = parser.parse_args()
    with postgres(options.url) as text:
        report(sa.make_url(text), options.lives)


def report(url: sa.URL, lives: int) -> None:
    print(f"{'':24}{'lives/s':>10}{'ms/operation':>15}{'of the floor':>15}")
    for notify in (True, False):
        settings = FlueSettings(notify=notify)
        with Flue(url, settings=settings) as flue:
            flue.boot()
            floor = Floor(url, settings)
            for count in (1, 8, 16):
                rows = {
                    "psycopg alone": lambda c=count, f=floor: measure_floor(url, f, c, lives),
                    "Flue": lambda c=count, f=flue: measure_sync(f, c, lives),
                    "AsyncFlue": lambda c=count, s=settings: asyncio.run(measure_async(url, s, c, lives)),
                }
                print(f"{count} at once, notifications {'on' if notify else 'off'}")
                # Alternating, so that whatever else the machine does hits all three alike.
                rates: dict[str, list[float]] = {name: [] for name in rows}
                for _ in range(ROUNDS):
                    for name, row in rows.items():
                        rates[name].append(row())
                base = statistics.median(rates["psycopg alone"])
                for name in rows:
                    rate = statistics.median(rates[name])
                    print(f"  {name:22}{rate:10.0f}{1000 * count / rate / OPERATIONS:15.3f}{rate / base:15.0%}")


if __name__ == "__main__":
    main()
