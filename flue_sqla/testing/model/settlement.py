"""The settlement outbox (spec/submissions.md §7.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flue_sqla.records import Attempt, SettlementObligation
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.model.submission_rows import SubmissionRows
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["Settlement"]

FALLBACK = "The submission did not complete."


class Settlement(SubmissionRows):
    """Reserve the record, then, once it is in the stream, finalize the row."""

    def reserve_settlement(self, attempt: Attempt, record_id: str, record: Mapping[str, Any], /) -> SettlementObligation | None:
        if record.get("id") != record_id:
            return None
        text = canonical_json(dict(record))
        with self.database.transaction():
            row = self.row(attempt.submission_id)
            if row is None:
                return None
            if self._may_reserve(row, attempt):
                row.update(
                    status="terminalizing",
                    settlement_record_id=record_id,
                    settlement_record=text,
                    attempt_id=attempt.attempt_id,
                    started_at=row["started_at"] or self.clock.now(),
                )
                return self.obligation(row)
            retried = (row["status"], row["attempt_id"], row["settlement_record_id"], row["settlement_record"])
            return self.obligation(row) if retried == ("terminalizing", attempt.attempt_id, record_id, text) else None

    def _may_reserve(self, row: Row, attempt: Attempt) -> bool:
        if row["settlement_record_id"] is not None:
            return False
        if row["status"] == "running":
            return bool(row["attempt_id"] == attempt.attempt_id and row["owner_id"] is not None)
        host = Attempt(submission_id=row["joined_into"] or "", attempt_id=attempt.attempt_id)
        return row["status"] == "joined" and self.running_under(host) is not None

    def obligation(self, row: Row) -> SettlementObligation:
        return SettlementObligation(
            submission_id=row["submission_id"],
            session_key=row["session_key"],
            attempt_id=row["attempt_id"],
            record_id=row["settlement_record_id"],
            record=parse_json(row["settlement_record"]),
        )

    def finalize_settlement(self, attempt: Attempt, record_id: str, error_message: str | None = None) -> bool:
        with self.database.transaction():
            row = self.row(attempt.submission_id)
            if row is None:
                return False
            reserved = (row["status"], row["attempt_id"], row["settlement_record_id"])
            if reserved != ("terminalizing", attempt.attempt_id, record_id):
                return False
            self.settle(row, _error(parse_json(row["settlement_record"]), error_message))
            return True


def _error(record: dict[str, Any], given: str | None) -> str | None:
    if record.get("outcome") == "completed":
        return None
    if given is not None:
        return given
    error = record.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else FALLBACK
