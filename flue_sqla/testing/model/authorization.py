"""Who may append (spec/streams.md §3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flue_sqla.records import Attempt
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.model.submission_rows import SubmissionRows
from flue_sqla.wire import canonical_json, parse_session_key

__all__ = ["refusal"]


def refusal(
    submissions: SubmissionRows,
    identity: Mapping[str, str],
    records: Sequence[Mapping[str, Any]],
    authorization: Attempt | None,
) -> str | None:
    """Why this batch may not be appended, or None if it may."""
    owned = [record for record in records if "submissionId" in record or "attemptId" in record]
    if authorization is None:
        return "Submission-owned records require attempt authorization." if owned else None
    if not all(_belongs(submissions, record, authorization) for record in owned):
        return "Record ownership does not match the authorized submission attempt."
    row = submissions.row(authorization.submission_id)
    if row is None or row["attempt_id"] != authorization.attempt_id or not _is_of(row, identity) or not _may_write(row, records, owned):
        return "Submission attempt no longer owns work for this agent instance."
    return None


def _belongs(submissions: SubmissionRows, record: Mapping[str, Any], authorization: Attempt) -> bool:
    if record.get("attemptId") != authorization.attempt_id:
        return False
    if record.get("submissionId") == authorization.submission_id:
        return True
    row = submissions.row(str(record.get("submissionId")))
    return row is not None and row["status"] in ("joining", "joined") and row["joined_into"] == authorization.submission_id


def _is_of(row: Row, identity: Mapping[str, str]) -> bool:
    address = parse_session_key(row["session_key"])
    return address is not None and (address.agent, address.instance_id) == (identity["agentName"], identity["instanceId"])


def _may_write(row: Row, records: Sequence[Mapping[str, Any]], owned: Sequence[Mapping[str, Any]]) -> bool:
    if row["status"] == "running":
        return True
    if row["status"] != "terminalizing" or len(records) != 1 or len(owned) != 1:
        return False
    (record,) = records
    exact = record.get("id") == row["settlement_record_id"] and canonical_json(dict(record)) == row["settlement_record"]
    return record.get("type") == "submission_settled" and exact
