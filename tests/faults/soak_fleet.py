"""The processes of the soak: workers that are killed and started again, and admitters that never give up."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flue_sqla import Flue
from flue_sqla.errors import FlueError
from tests.databases.contract import Database

ROOT = Path(__file__).parents[2]


class Workers:
    """``count`` worker processes; whoever is killed is replaced."""

    def __init__(self, database: Database, artifacts: Path, logs: Path, count: int) -> None:
        self._environment = {
            **os.environ,
            "SOAK_DATABASE": database.async_url,
            "SOAK_ARTIFACTS": str(artifacts),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self._logs = logs
        self._started = 0
        begun = [self._start() for _ in range(count)]
        self.processes = [process for process, _ in begun]
        self._logs_of_processes = [log for _, log in begun]

    def _start(self) -> tuple[subprocess.Popen[bytes], Path]:
        self._started += 1
        log = self._logs / f"worker-{self._started:03}.log"
        command = [sys.executable, "-m", "flue_sqla.cli", "worker", "tests.faults.soak_worker:worker", "--log-format", "json"]
        with log.open("wb") as output:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=output, stderr=output), log

    def kill_one(self) -> bool:
        """SIGKILL one at random and start another. False when most are only starting: killing those would be no fault at all."""
        started = [index for index, log in enumerate(self._logs_of_processes) if b'"started"' in log.read_bytes()[:4096]]
        if 2 * len(started) < len(self.processes):
            return False
        index = random.choice(started)
        self.processes[index].kill()
        self.processes[index].wait()
        self.processes[index], self._logs_of_processes[index] = self._start()
        return True

    def stop(self) -> list[int]:
        """SIGTERM all; their exit codes."""
        for process in self.processes:
            process.terminate()
        return [process.wait(30) for process in self.processes]

    def kill_all(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def events(self) -> Counter[str]:
        """What all of them told, the killed ones included."""
        counts: Counter[str] = Counter()
        for log in sorted(self._logs.glob("worker-*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if line == "injected store failure":
                    counts["injected_store_failures"] += 1
                elif line.startswith("{"):
                    counts[_event(line)] += 1
        return counts


def _event(line: str) -> str:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return "cut"
    return str(entry.get("event", "other"))


class Admitter(threading.Thread):
    """Dispatches work with a key until it has a receipt, whatever happens to the database meanwhile."""

    def __init__(self, flue: Flue, sessions: Sequence[str], per_second: float) -> None:
        super().__init__(daemon=True)
        self._flue = flue
        self._sessions = sessions
        self._pause = 1 / per_second
        self._over = threading.Event()
        self.retries = 0
        #: By submission id: session and number within it, in the order of the receipts.
        self.admitted: dict[str, tuple[str, int]] = {}

    def run(self) -> None:
        numbers: Counter[str] = Counter()
        while not self._over.wait(self._pause):
            session = random.choice(self._sessions)
            number, numbers[session] = numbers[session], numbers[session] + 1
            receipt = self._dispatch(session, number)
            if receipt is not None:
                self.admitted[receipt] = (session, number)

    def _dispatch(self, session: str, number: int) -> str | None:
        while True:
            try:
                return self._flue.dispatch("soak", id=session, message=str(number), idempotency_key=f"{session}/{number}").submission_id
            except FlueError:
                self.retries += 1
                if self._over.wait(0.2):
                    return None

    def finish(self) -> None:
        """Admit nothing more."""
        self._over.set()
        self.join()
