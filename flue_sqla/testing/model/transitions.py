"""Claims and everything that an attempt may do to its row (spec/submissions.md §7.3 to §7.8, §7.10 and §7.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from flue_sqla.records import Attempt, Durability, Lease, Submission
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.model.submission_rows import SubmissionRows
from flue_sqla.wire import new_id, parse_session_key

__all__ = ["Transitions"]

MAX_ATTEMPTS = 10
TIMEOUT_MS = 3_600_000
LEASE_MS = 30_000


class Transitions(SubmissionRows):
    """Every gate is evaluated in the same transaction as its write."""

    def claim(self, submission_id: str, /, *, attempt_id: str, owner_id: str, lease_expires_at: int) -> Submission | None:
        with self.database.transaction():
            row = self.row(submission_id)
            if row is None or row not in self.heads():
                return None
            return self._claim(row, attempt_id, Lease(owner_id=owner_id, lease_expires_at=lease_expires_at))

    def _claim(self, row: Row, attempt_id: str, lease: Lease) -> Submission:
        now = self.clock.now()
        row.update(
            status="running",
            attempt_id=attempt_id,
            started_at=now,
            attempt_count=row["attempt_count"] + 1,
            max_attempts=MAX_ATTEMPTS,
            timeout_at=row["timeout_at"] or now + TIMEOUT_MS,
            owner_id=lease.owner_id,
            lease_expires_at=lease.lease_expires_at,
        )
        return self.parse(row)

    def claim_next(self, *, owner_id: str, agents: Sequence[str], limit: int = 1) -> list[Submission]:
        with self.database.transaction():
            taken: list[Submission] = []
            for row in self.heads():
                address = parse_session_key(row["session_key"])
                if len(taken) == limit or address is None or address.agent not in agents:
                    continue
                try:
                    self.parse(row)
                except Exception as error:
                    self.terminate(row, "queued", str(error))
                else:
                    lease = Lease(owner_id=owner_id, lease_expires_at=self.clock.now() + LEASE_MS)
                    taken.append(self._claim(row, new_id("attempt"), lease))
            return taken

    def mark_input_applied(self, attempt: Attempt, durability: Durability | None = None, /) -> bool:
        with self.database.transaction():
            row = self.running_under(attempt)
            if row is None:
                return False
            now = self.clock.now()
            if row["input_applied_at"] is None:
                budget = durability or Durability(max_attempts=MAX_ATTEMPTS, timeout_at=now + TIMEOUT_MS)
                row.update(max_attempts=budget.max_attempts, timeout_at=budget.timeout_at, input_applied_at=now)
            return True

    def requeue(self, attempt: Attempt, /) -> bool:
        with self.database.transaction():
            row = self.running_under(attempt)
            if row is None:
                return False
            row.update(status="queued", attempt_id=None, input_applied_at=None, started_at=None, owner_id=None, lease_expires_at=0)
            return True

    def release(self, attempt: Attempt, /) -> bool:
        with self.database.transaction():
            row = self.running_under(attempt)
            if row is None:
                return False
            row["attempt_count"] -= 1
            for child in self.children(attempt.submission_id, "joining"):
                self.back_to_queue(child)
            return self.requeue(attempt)

    def replace_attempt(self, attempt: Attempt, next_attempt_id: str, lease: Lease | None = None, /) -> Submission | None:
        with self.database.transaction():
            row = self.running_under(attempt)
            if row is None:
                return None
            row.update(attempt_id=next_attempt_id, started_at=self.clock.now(), attempt_count=row["attempt_count"] + 1)
            if lease is not None:
                row.update(owner_id=lease.owner_id, lease_expires_at=lease.lease_expires_at)
            return self.parse(row)

    def request_abort(self, session_key: str, /) -> list[str]:
        with self.database.transaction():
            reached = [row for row in self.ordered("queued", "running", "joining", "joined") if row["session_key"] == session_key]
            for row in reached:
                if row["abort_requested_at"] is None:
                    row["abort_requested_at"] = self.clock.now()
            return [row["submission_id"] for row in reached]

    def renew_leases(self, owner_id: str, submission_ids: Sequence[str], /) -> None:
        with self.database.transaction():
            for row in self.ordered("running"):
                if row["submission_id"] in submission_ids and row["owner_id"] == owner_id:
                    row["lease_expires_at"] = self.clock.now() + LEASE_MS

    def complete(self, attempt: Attempt, /) -> bool:
        return self._end(attempt, None)

    def fail(self, attempt: Attempt, error: str | BaseException, /) -> bool:
        return self._end(attempt, str(error))

    def _end(self, attempt: Attempt, error: str | None) -> bool:
        with self.database.transaction():
            row = self.running_under(attempt)
            if row is None:
                return False
            self.settle(row, error)
            return True

    def settle_queued(self, submission_id: str, outcome: Literal["failed", "aborted"], error: str | BaseException, /) -> bool:
        with self.database.transaction():
            row = self.row(submission_id)
            if row is None or row["status"] != "queued":
                return False
            row.update(status="settled", settled_at=self.clock.now(), error=str(error))
            return True
