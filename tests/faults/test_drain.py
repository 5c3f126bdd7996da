"""Many processes drain one queue while they, their connections or the server are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.faults.drainer import AGENT, outcomes
from tests.submissions.inputs import dispatch

ROOT = Path(__file__).parents[2]
SUBMISSIONS = int(os.environ.get("FLUE_TEST_DRAIN", "400"))
"""How many to drain; 5,000 in the session of fault tests."""
SESSIONS = max(20, SUBMISSIONS // 25)
PROCESSES = 8 if SUBMISSIONS >= 5_000 else 4
DEADLINE = 120 + SUBMISSIONS / 20

Fault = Callable[[Database, list["subprocess.Popen[bytes]"]], None]


def kill_a_process(_database: Database, workers: list[subprocess.Popen[bytes]]) -> None:
    random.choice(workers).kill()


def end_a_connection(database: Database, _workers: list[subprocess.Popen[bytes]]) -> None:
    database.admin_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        " ORDER BY random() LIMIT 2"
    )


def restart_the_server(database: Database, _workers: list[subprocess.Popen[bytes]]) -> None:
    database.restart(immediate=True)


def start(database: Database, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.faults.drainer", database.url, f"owner-{number}"], cwd=ROOT)


def drain(database: Database, fault: Fault, *, every: float, times: int) -> int:
    """Run workers until all have found nothing left; how many faults were injected."""
    deadline, injected, started = time.monotonic() + DEADLINE, 0, PROCESSES
    workers = [start(database, number) for number in range(PROCESSES)]
    next_fault = time.monotonic() + every
    while any(worker.poll() is None for worker in workers):
        assert time.monotonic() < deadline, "the workers do not come to an end"
        time.sleep(0.02)
        if time.monotonic() < next_fault or injected == times:
            continue
        fault(database, [worker for worker in workers if worker.poll() is None] or workers)
        injected, next_fault = injected + 1, time.monotonic() + every
        for position, worker in enumerate(workers):
            if worker.poll() not in (None, 0) or (fault is kill_a_process and worker.returncode is not None):
                workers[position] = start(database, started)
                started += 1
    # A killed worker that was not replaced any more may have left work behind.
    last = start(database, started)
    assert last.wait(DEADLINE) == 0
    return injected


@pytest.mark.databases("sqlite", "postgres", "mariadb")
def test_processes_killed_in_the_middle(migrated: Database) -> None:
    check_drain(migrated, kill_a_process, every=0.4, times=8)


@pytest.mark.databases("postgres")
def test_connections_ended_by_the_server(migrated: Database) -> None:
    check_drain(migrated, end_a_connection, every=0.3, times=10)


@pytest.mark.databases("postgres")
def test_the_server_restarted_in_the_middle(migrated: Database) -> None:
    check_drain(migrated, restart_the_server, every=1.0, times=2)


def check_drain(database: Database, fault: Fault, *, every: float, times: int) -> None:
    """Every submission has exactly one outcome, in the order of its session."""
    flue = Flue(database.url)
    outcomes.metadata.create_all(flue.engine)
    for number in range(SUBMISSIONS):
        submission_id = f"s{number}"
        flue.submissions.admit_dispatch(dispatch(submission_id, str(number), agent=AGENT, instance=f"i{number % SESSIONS}"))
        flue.submissions.mark_ready(submission_id)
    flue.close()  # its idle connection would be the first that the fault ends
    injected = drain(database, fault, every=every, times=times)
    assert injected > 0
    assert not flue.submissions.has_unsettled()
    with flue.engine.connect() as connection:
        rows = connection.execute(sa.select(outcomes).order_by(outcomes.c.id)).all()
    flue.close()
    assert Counter(row.submission_id for row in rows) == Counter(f"s{number}" for number in range(SUBMISSIONS))
    by_session: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        by_session[row.session_key].append(row.number)
    assert {key: numbers for key, numbers in by_session.items() if numbers != sorted(numbers)} == {}
