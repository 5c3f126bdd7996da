"""Workers under a storm: killed every second, their connections cut, their server restarted, their store failing (`nox -s soak`)."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.faults.soak_checks import Stored, assert_sound
from tests.faults.soak_fleet import Admitter, Workers

SESSIONS = 300
ADMITTERS = 4
PROCESSES = {"postgres": 6, "mariadb": 6, "sqlite": 3}
RATE = {"postgres": 30.0, "mariadb": 15.0, "sqlite": 8.0}
DRAIN_SECONDS = 240.0


class Storm:
    """Random faults, one after the other."""

    def __init__(self, database: Database, workers: Workers, seconds: float) -> None:
        self._database = database
        self._workers = workers
        self._restart_at = time.monotonic() + seconds / 2 if database.name in ("postgres", "mariadb") else None
        self.injected = {"kills": 0, "connections cut": 0, "server restarts": 0}

    def strike(self) -> None:
        """One second's worth of trouble."""
        self.injected["kills"] += self._workers.kill_one()
        self._cut_connections()
        if self._restart_at is not None and time.monotonic() >= self._restart_at:
            self._restart_at = None
            self._database.restart(immediate=True)
            self.injected["server restarts"] += 1

    def _cut_connections(self) -> None:
        with contextlib.suppress(Exception):
            if self._database.name == "postgres":
                rows = self._database.admin_execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.2"
                )
                self.injected["connections cut"] += len(rows)
            elif self._database.name == "mariadb":
                ids = self._database.admin_execute("SELECT id FROM information_schema.processlist WHERE db = database()")
                for (number,) in random.sample(ids, len(ids) // 5):
                    self._database.admin_execute(f"KILL {number}")
                    self.injected["connections cut"] += 1


def _soak(database: Database, folder: Path, seconds: float) -> None:
    artifacts, logs = folder / "artifacts", folder / "logs"
    logs.mkdir()
    workers = Workers(database, artifacts, logs, PROCESSES[database.name])
    flue = Flue(database.url, artifacts=str(artifacts))
    sessions = [f"s{number}" for number in range(SESSIONS)]
    admitters = [Admitter(flue, sessions[n::ADMITTERS], RATE[database.name] / ADMITTERS) for n in range(ADMITTERS)]
    storm = Storm(database, workers, seconds)
    try:
        for admitter in admitters:
            admitter.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            storm.strike()
        for admitter in admitters:
            admitter.finish()
        _drain(database, workers, logs)
        assert workers.stop() == [0] * len(workers.processes)
    finally:
        for admitter in admitters:
            admitter.finish()
        workers.kill_all()
    admitted = {submission_id: place for admitter in admitters for submission_id, place in admitter.admitted.items()}
    counted = assert_sound(Stored(database), admitted)
    flue.artifacts.sweep(grace_ms=0, repair=True)
    assert flue.artifacts.sweep(grace_ms=0).clean, "bytes without a row, or a row without bytes"
    flue.close()
    _tell(database, storm, workers, sum(admitter.retries for admitter in admitters), counted)


def _drain(database: Database, workers: Workers, logs: Path) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while (left := Stored(database).unsettled()) and time.monotonic() < deadline:
        time.sleep(1)
    assert left == 0, f"{left} submissions are stuck; see {logs}: {workers.events()}"


def _tell(database: Database, storm: Storm, workers: Workers, retries: int, counted: dict[str, int]) -> None:
    events = workers.events()
    told = ("claimed", "recovered", "requeued", "settlement_finished", "fenced", "step_replayed", "retried", "injected_store_failures")
    lines = [f"soak on {database.name}", f"  injected  {storm.injected}", f"  admission retries  {retries}", f"  found  {counted}"]
    print("\n".join([*lines, f"  workers  { {name: events[name] for name in told} }"]))


@pytest.mark.slow
@pytest.mark.faults
def test_a_short_storm(migrated: Database, tmp_path: Path) -> None:
    _soak(migrated, tmp_path, float(os.environ.get("FLUE_TEST_STORM_SECONDS", "8")))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_long_storm(migrated: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        _soak(migrated, tmp_path, float(os.environ.get("FLUE_TEST_SOAK_SECONDS", "60")))
