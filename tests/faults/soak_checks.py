"""What must hold after the soak, read with SQL of its own and not through the library."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from flue_sqla.conversation import verify_stream
from tests.databases.contract import Database

ROWS = """SELECT submission_id, session_key, sequence, status, error, settlement_record, attempt_count, joined_into
          FROM flue_agent_submissions ORDER BY sequence"""
BATCHES = "SELECT path, seq, data FROM flue_conversation_stream_batches ORDER BY path, seq"


class Stored:
    """The database as it is."""

    def __init__(self, database: Database) -> None:
        self.rows = {row[0]: row for row in database.admin_execute(ROWS)}
        self.streams: dict[str, list[tuple[str, list[dict[str, Any]]]]] = defaultdict(list)
        for path, seq, data in database.admin_execute(BATCHES):
            assert data.startswith("["), "no batch of the soak is long enough to be spilled"
            self.streams[path].append((str(seq), json.loads(data)))
        self.records = [record for batches in self.streams.values() for _, records in batches for record in records]
        self.artifacts = {row[0]: row[1] for row in database.admin_execute("SELECT id, submission_id FROM flue_artifacts")}

    def unsettled(self) -> int:
        return sum(row[3] != "settled" for row in self.rows.values())


def assert_sound(stored: Stored, admitted: dict[str, tuple[str, int]]) -> dict[str, int]:
    """Every guarantee of the issue; what was counted on the way."""
    assert set(admitted) <= set(stored.rows), "something that was accepted is gone"
    assert stored.unsettled() == 0
    outcomes = _outcomes(stored)
    attempts = _attempts(stored)
    steps = _steps(stored)
    for path, batches in stored.streams.items():
        verdict = verify_stream(batches)
        assert verdict.broken is None, (path, verdict.broken)
    _order(stored)
    _results(stored, steps, outcomes)
    return {
        "submissions": len(stored.rows),
        "completed": sum(outcome == "completed" for outcome in outcomes.values()),
        "attempts": attempts,
        "steps": len(steps),
    }


def _outcomes(stored: Stored) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    for record in stored.records:
        if record["type"] == "submission_settled":
            assert record["submissionId"] not in outcomes, "two outcomes in the stream"
            outcomes[record["submissionId"]] = record["outcome"]
    for submission_id, row in stored.rows.items():
        assert submission_id in outcomes, f"{submission_id} is settled without a record: {row[4]}"
        assert (row[4] is None) == (outcomes[submission_id] == "completed")
        assert json.loads(row[5])["outcome"] == outcomes[submission_id], "row and stream tell different outcomes"
    return outcomes


def _attempts(stored: Stored) -> int:
    """No attempt wrote again after a later one had written."""
    seen: dict[str, list[str]] = defaultdict(list)
    for record in stored.records:
        attempts = seen[record.get("submissionId", "")]
        if "attemptId" in record and attempts[-1:] != [record["attemptId"]]:
            attempts.append(record["attemptId"])
    for submission_id, attempts in seen.items():
        assert len(attempts) == len(set(attempts)), f"{submission_id}: an attempt wrote after it was fenced"
    return sum(map(len, seen.values()))


def _steps(stored: Stored) -> dict[tuple[str, str], Any]:
    steps: dict[tuple[str, str], Any] = {}
    for record in stored.records:
        if record["type"] == "tool_step_settled":
            key = (record["submissionId"], record["stepName"])
            assert steps.setdefault(key, record["value"]) == record["value"], f"{key}: the recorded value changed"
    return steps


def _order(stored: Stored) -> None:
    """Within a session, inputs and outcomes follow the order of admission."""
    for path, batches in stored.streams.items():
        for kind in ("user_message", "submission_settled"):
            ids = [record["submissionId"] for _, records in batches for record in records if record["type"] == kind]
            sequences = [stored.rows[submission_id][2] for submission_id in ids]
            assert sequences == sorted(sequences), f"{path}: {kind} out of order"
            assert len(ids) == len(set(ids)), f"{path}: {kind} twice"


def _results(stored: Stored, steps: dict[tuple[str, str], Any], outcomes: dict[str, str]) -> None:
    """What a submission answered is what its steps recorded, and its artifact is there."""
    answers: dict[str, str] = {}
    for record in stored.records:
        if record["type"] == "assistant_text_delta":
            assert record["submissionId"] not in answers, "two answers"
            answers[record["submissionId"]] = record["delta"]
    for submission_id, outcome in outcomes.items():
        if outcome != "completed":
            continue
        *values, artifact = json.loads(answers[submission_id])
        assert values == [steps[submission_id, f"step {number}"] for number in range(len(values))]
        assert steps[submission_id, "store"] == artifact
        assert stored.artifacts[artifact] == submission_id
