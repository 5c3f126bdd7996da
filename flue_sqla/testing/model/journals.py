"""Turn journals, stream segments and attempt markers in memory (spec/submissions.md §13 to §16)."""

from __future__ import annotations

from typing import Any

from flue_sqla.clock import Clock
from flue_sqla.errors import MalformedRowError
from flue_sqla.records import UNSET, Attempt, AttemptMarker, Lease, StreamSegment, Submission, TurnJournal
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.testing.model.payloads import KINDS
from flue_sqla.testing.model.transitions import Transitions
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["MemoryJournals"]

JOURNALS = "flue_agent_turn_journals"
SEGMENTS = "flue_agent_stream_chunks"
MARKERS = "flue_agent_attempt_markers"
PHASES = ("before_provider", "provider_started", "tool_request_recorded", "committed")


class MemoryJournals:
    """The journal store of the reference model."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._submissions = Transitions(database, clock)

    def get(self, submission_id: str, /) -> TurnJournal | None:
        row = self.database.find(JOURNALS, submission_id=submission_id)
        return None if row is None else _journal(row)

    def begin(
        self,
        *,
        submission_id: str,
        session_key: str,
        kind: str,
        attempt_id: str,
        operation_id: str,
        turn_id: str,
        phase: str,
        checkpoint_leaf_id: str | None = None,
        tool_request: Any = UNSET,
    ) -> bool:
        now = self.clock.now()
        turn: Row = {
            "attempt_id": attempt_id,
            "operation_id": operation_id,
            "turn_id": turn_id,
            "phase": phase,
            "checkpoint_leaf_id": checkpoint_leaf_id,
            "tool_request_json": None if tool_request is UNSET else canonical_json(tool_request),
            "stream_key": None,
            "stream_consumed_at": None,
            "committed": 0,
            "committed_leaf_id": None,
            "updated_at": now,
        }
        with self.database.transaction():
            row = self.database.find(JOURNALS, submission_id=submission_id)
            if row is None:
                origin: Row = {"submission_id": submission_id, "session_key": session_key, "kind": kind}
                self.database.insert(JOURNALS, **origin, revision=1, created_at=now, **turn)
            else:
                row.update(turn, revision=row["revision"] + 1)
            return True

    def update_phase(
        self,
        attempt: Attempt,
        phase: str,
        /,
        *,
        checkpoint_leaf_id: Any = UNSET,
        tool_request: Any = UNSET,
        stream_key: Any = UNSET,
    ) -> bool:
        changes: Row = {"phase": phase}
        if checkpoint_leaf_id is not UNSET:
            changes["checkpoint_leaf_id"] = checkpoint_leaf_id
        if tool_request is not UNSET:
            changes["tool_request_json"] = canonical_json(tool_request)
        if stream_key is not UNSET:
            changes["stream_key"] = stream_key
        with self.database.transaction():
            return self._write(self._open(attempt), **changes)

    def commit(self, attempt: Attempt, leaf_id: str, /) -> bool:
        with self.database.transaction():
            return self._write(self._open(attempt), phase="committed", committed=1, committed_leaf_id=leaf_id)

    def mark_stream_consumed(self, attempt: Attempt, stream_key: str, /) -> bool:
        with self.database.transaction():
            row = self._open(attempt)
            if row is None or row["stream_key"] != stream_key or row["stream_consumed_at"] is not None:
                return False
            return self._write(row, stream_consumed_at=self.clock.now())

    def replace_attempt(self, attempt: Attempt, next_attempt_id: str, lease: Lease | None = None, /) -> Submission | None:
        with self.database.transaction():
            replaced = self._submissions.replace_attempt(attempt, next_attempt_id, lease)
            if replaced is not None:
                self._write(self._open(attempt), attempt_id=next_attempt_id)
            return replaced

    def _open(self, attempt: Attempt) -> Row | None:
        """The journal owned by the attempt and not committed."""
        row = self.database.find(JOURNALS, submission_id=attempt.submission_id)
        return row if row is not None and row["attempt_id"] == attempt.attempt_id and not row["committed"] else None

    def _write(self, row: Row | None, **changes: Any) -> bool:
        if row is None:
            return False
        row.update(changes, revision=row["revision"] + 1, updated_at=self.clock.now())
        return True

    # -- stream segments --

    def append_segment(self, key: str, index: int, body: str, /) -> bool:
        with self.database.transaction():
            if self.database.find(SEGMENTS, stream_key=key, segment_index=index) is not None:
                return False
            self.database.insert(SEGMENTS, stream_key=key, segment_index=index, body=body)
            return True

    def segments(self, key: str, /) -> list[StreamSegment]:
        rows = self.database.select(SEGMENTS, stream_key=key)
        found = [StreamSegment(segment_index=row["segment_index"], body=row["body"]) for row in rows]
        return sorted(found, key=lambda segment: segment.segment_index)

    def delete_segments(self, key: str, /) -> None:
        self.database.delete(SEGMENTS, stream_key=key)

    # -- attempt markers --

    def insert_marker(self, attempt: Attempt, /) -> None:
        pair = {"submission_id": attempt.submission_id, "attempt_id": attempt.attempt_id}
        with self.database.transaction():
            if self.database.find(MARKERS, **pair) is None:
                self.database.insert(MARKERS, **pair, created_at=self.clock.now())

    def delete_marker(self, attempt: Attempt, /) -> None:
        self.database.delete(MARKERS, submission_id=attempt.submission_id, attempt_id=attempt.attempt_id)

    def list_markers(self) -> list[AttemptMarker]:
        return [AttemptMarker(**row) for row in self.database.select(MARKERS)]


def _journal(row: Row) -> TurnJournal:
    if row["phase"] not in PHASES or row["kind"] not in KINDS:
        raise MalformedRowError("[flue] Persisted turn journal row is malformed.")
    request = row["tool_request_json"]
    columns = {name: value for name, value in row.items() if name not in ("tool_request_json", "committed")}
    return TurnJournal(**columns, committed=bool(row["committed"]), tool_request=UNSET if request is None else parse_json(request))
