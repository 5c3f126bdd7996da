"""Deliveries that join a running host (spec/submissions.md §7.13)."""

from __future__ import annotations

from flue_sqla.records import Attempt, Submission
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.model.submission_rows import SubmissionRows

__all__ = ["Joins"]


class Joins(SubmissionRows):
    """Everything is gated on the host running under its attempt."""

    def claim_joinable(self, host: Attempt, agent_name: str, /) -> list[Submission]:
        with self.database.transaction():
            host_row = self.running_under(host)
            if host_row is None:
                return []
            taken: list[Submission] = []
            for row in self.ordered("queued"):
                if row["session_key"] != host_row["session_key"]:
                    continue
                if not self._may_join(row, agent_name):
                    break
                row.update(status="joining", joined_into=host.submission_id)
                taken.append(self.parse(row))
            return taken

    def _may_join(self, row: Row, agent_name: str) -> bool:
        if row["canonical_ready_at"] is None or row["abort_requested_at"] is not None:
            return False
        try:
            return bool(self.parse(row).input["agent"] == agent_name)
        except Exception:
            return False

    def finalize_join(self, host: Attempt, submission_id: str, /) -> bool:
        with self.database.transaction():
            row = self._joining(host, submission_id)
            if row is None:
                return False
            row.update(status="joined", input_applied_at=row["input_applied_at"] or self.clock.now())
            return True

    def revert_join(self, host: Attempt, submission_id: str, /) -> bool:
        with self.database.transaction():
            row = self._joining(host, submission_id)
            if row is None:
                return False
            self.back_to_queue(row)
            return True

    def _joining(self, host: Attempt, submission_id: str) -> Row | None:
        row = self.row(submission_id)
        joins = row is not None and row["status"] == "joining" and row["joined_into"] == host.submission_id
        return row if joins and self.running_under(host) is not None else None
