"""The rows of submissions, and what every operation on them shares (spec/submissions.md §6, §7.12 and §8)."""

from __future__ import annotations

from typing import Any

from flue_sqla.clock import Clock
from flue_sqla.records import Attempt, Submission
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.testing.model.payloads import UNSETTLED, parse_submission

__all__ = ["CHUNKS", "TABLE", "SubmissionRows"]

TABLE = "flue_agent_submissions"
CHUNKS = "flue_submission_chunks"
BLANK: Row = {
    "status": "queued",
    "canonical_ready_at": None,
    "attempt_id": None,
    "input_applied_at": None,
    "abort_requested_at": None,
    "started_at": None,
    "joined_into": None,
    "settled_at": None,
    "error": None,
    "attempt_count": 0,
    "max_attempts": 10,
    "timeout_at": 0,
    "owner_id": None,
    "lease_expires_at": 0,
    "settlement_record_id": None,
    "settlement_record": None,
}


class SubmissionRows:
    """Finding, judging and ending rows."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def add(self, **columns: Any) -> None:
        self.database.insert(TABLE, sequence=self.database.next_sequence(TABLE), **{**BLANK, **columns})

    def row(self, submission_id: str) -> Row | None:
        return self.database.find(TABLE, submission_id=submission_id)

    def ordered(self, *statuses: str) -> list[Row]:
        """Rows with one of the statuses (all rows without any), in admission order."""
        rows = (row for row in self.database.rows(TABLE) if not statuses or row["status"] in statuses)
        return sorted(rows, key=lambda row: int(row["sequence"]))

    def chunks(self, submission_id: str) -> list[Row]:
        return self.database.select(CHUNKS, submission_id=submission_id)

    def parse(self, row: Row) -> Submission:
        return parse_submission(row, self.chunks(row["submission_id"]))

    def heads(self) -> list[Row]:
        """The runnable head of every session that has one (§6)."""
        first: dict[str, Row] = {}
        for row in self.ordered(*UNSETTLED):
            first.setdefault(row["session_key"], row)
        return [row for row in first.values() if row["status"] == "queued" and row["canonical_ready_at"] is not None]

    def running_under(self, attempt: Attempt) -> Row | None:
        """The row of the attempt if it is running under it: the gate of most transitions."""
        row = self.row(attempt.submission_id)
        return row if row is not None and row["status"] == "running" and row["attempt_id"] == attempt.attempt_id else None

    def children(self, host_id: str, *statuses: str) -> list[Row]:
        return [row for row in self.ordered(*statuses) if row["joined_into"] == host_id]

    def settle(self, row: Row, error: str | None) -> None:
        """Ends a row, and with it whatever had joined it (§7.12)."""
        now = self.clock.now()
        row.update(status="settled", settled_at=now, error=error)
        for child in self.children(row["submission_id"], "joined"):
            child.update(status="settled", settled_at=now, error=error)
        for child in self.children(row["submission_id"], "joining"):
            self.back_to_queue(child)

    def back_to_queue(self, child: Row) -> None:
        child.update(status="queued", joined_into=None, input_applied_at=None)

    def terminate(self, row: Row, terminable: str, message: str) -> None:
        """Settles a row that cannot be read, unless its status is another one (§8)."""
        if row["status"] == terminable:
            self.settle(row, message)
