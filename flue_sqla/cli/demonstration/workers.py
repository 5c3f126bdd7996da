"""The worker processes, and what is done to them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from flue_sqla.cli.demonstration.stage import Stage
from flue_sqla.flue import Flue
from flue_sqla.wire import parse_session_key, stream_path

__all__ = ["Fleet", "WorkerProcess"]

LEASE_MS = 4_000
_EXIT_SECONDS = 20.0
_LAST_STATEMENT_SECONDS = 0.3


class WorkerProcess:
    """One ``flue-sqla worker`` and the events that it has logged."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.log = stage.folder / f"worker-{number}.log"
        command = [sys.executable, "-m", "flue_sqla.cli", "worker", "orders_app.worker:worker", "--log-format", "json"]
        if stage.env_file is not None:
            command += ["--env-file", stage.env_file]
        # In the folder of the caller: a URL, an env file or a certificate may be named relative to it.
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=stage.environment(LEASE_MS), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def events(self) -> list[dict[str, Any]]:
        """What it has told so far; a line cut by a kill is left out."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                found.append(entry)
        return found

    def owner_id(self) -> str | None:
        """Under which name it holds leases; None before it has started."""
        return next((str(entry["owner_id"]) for entry in self.events() if entry["event"] == "started"), None)


class Fleet:
    """Three workers, one of which is killed and another one stopped."""

    def __init__(self, stage: Stage, flue: Flue) -> None:
        self._flue = flue
        self.workers = [WorkerProcess(stage, number) for number in range(1, 4)]
        self.killed_pid: int | None = None
        self.stopped_pid: int | None = None
        #: Of the worker that was told to stop.
        self.exit_code: int | None = None
        #: What the killed worker held when it was held still.
        self.held: list[str] = []
        #: What was still its own a moment after its end, when the server had carried out what was under way; and its recorded steps.
        self.left: list[str] = []
        self.steps_left = 0

    def kill_one_that_holds_work(self) -> bool:
        """SIGKILL a worker in the middle of its work: held still first, so that it is certain what it held. False: none is so far."""
        for worker in self.workers:
            owner = worker.owner_id()
            if owner is None or worker.process.poll() is not None:
                continue
            worker.process.send_signal(signal.SIGSTOP)
            held, steps = self._holding(owner)
            if held and steps:
                worker.process.kill()
                worker.process.wait()
                time.sleep(_LAST_STATEMENT_SECONDS)
                self.killed_pid, self.held = worker.pid, held
                self.left, self.steps_left = self._holding(owner)
                return True
            worker.process.send_signal(signal.SIGCONT)
        return False

    def stop_one(self) -> None:
        """SIGTERM another one; it returns what it runs to the queue."""
        chosen = next(worker for worker in self.workers if worker.process.poll() is None)
        self.stopped_pid = chosen.pid
        chosen.process.terminate()

    def close(self) -> None:
        """Stop the remaining ones, and wait for all."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        deadline = time.monotonic() + _EXIT_SECONDS
        for worker in self.workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self.exit_code = next((worker.process.returncode for worker in self.workers if worker.pid == self.stopped_pid), None)

    def alive(self) -> int:
        """How many processes run."""
        return sum(worker.process.poll() is None for worker in self.workers)

    def events(self) -> list[dict[str, Any]]:
        """What all workers told."""
        return [entry for worker in self.workers for entry in worker.events()]

    def _holding(self, owner: str) -> tuple[list[str], int]:
        """What a worker runs, and how many steps are recorded of it: of work that has no answer yet, since the rest is only settled."""
        running = {row.submission_id: row.session_key for row in self._flue.submissions.list_running() if row.owner_id == owner}
        steps: Counter[str] = Counter()
        answered = set()
        for address in {parse_session_key(key) for key in running.values()} - {None}:
            assert address is not None
            page = self._flue.conversations.read(stream_path(address.agent, address.instance_id), limit=1000)
            for record in (record for batch in page.batches for record in batch.records):
                if record.get("type") == "tool_step_settled":
                    steps[record["submissionId"]] += 1
                elif record.get("type") == "assistant_message_completed":
                    answered.add(record["submissionId"])
        return list(running), sum(steps[submission_id] for submission_id in running if submission_id not in answered)
