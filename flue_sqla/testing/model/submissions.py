"""Submissions in memory: admission, readiness and queries (spec/submissions.md §7.1, §7.2, §8 and §12)."""

from __future__ import annotations

from collections.abc import Iterable

from flue_sqla.clock import Clock
from flue_sqla.errors import InternalStateError, ReceiptRetainedError, SessionDeletionError, SubmissionConflictError
from flue_sqla.records import Admission, DirectInput, DispatchInput, Receipt, SettlementObligation, Submission
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.testing.model.images import Chunk
from flue_sqla.testing.model.joins import Joins
from flue_sqla.testing.model.payloads import UNSETTLED, Prepared, hydrate_payload, parse_submission, prepare
from flue_sqla.testing.model.settlement import Settlement
from flue_sqla.testing.model.submission_rows import CHUNKS, SubmissionRows
from flue_sqla.testing.model.transitions import Transitions
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["MemorySubmissions"]

DELETING = "[flue] Durable agent submission admission is unavailable while this session is being deleted. Retry after deletion completes."


class MemorySubmissions(Transitions, Settlement, Joins, SubmissionRows):
    """The submission store of the reference model."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        SubmissionRows.__init__(self, database, clock)

    def admit_dispatch(self, input: DispatchInput, /) -> Admission:
        with self.database.transaction():
            receipt = self.database.find("flue_agent_dispatch_receipts", dispatch_id=input.submission_id)
            if receipt is not None:
                found = Receipt(submission_id=receipt["dispatch_id"], accepted_at=receipt["accepted_at"])
                return Admission(kind="retained_receipt", receipt=found)
            submission = self._admit(input)
            return Admission(kind="conflict") if submission is None else Admission(kind="submission", submission=submission)

    def admit_direct(self, input: DirectInput, /) -> Submission:
        with self.database.transaction():
            # Ours: a direct prompt whose row is gone is told so, rather than run a second time.
            if self.database.find("flue_agent_dispatch_receipts", dispatch_id=input.submission_id) is not None:
                raise ReceiptRetainedError(f"Submission {input.submission_id} was accepted before and its row is gone.")
            submission = self._admit(input)
            if submission is None:
                raise SubmissionConflictError("[flue] Internal direct admission returned an unexpected result.")
            return submission

    def _admit(self, input: DispatchInput | DirectInput) -> Submission | None:
        """The stored submission, or None for a conflict."""
        prepared = prepare(input)
        if self.database.find("flue_agent_session_deletions", session_key=prepared.session_key) is not None:
            raise SessionDeletionError(DELETING)
        row = self.row(input.submission_id)
        if row is None:
            return self.parse(self._insert(input, prepared))
        return self.parse(row) if self._is_replay(row, input, prepared) else None

    def _insert(self, input: DispatchInput | DirectInput, prepared: Prepared) -> Row:
        self.add(
            submission_id=input.submission_id,
            session_key=prepared.session_key,
            kind=input.kind,
            payload=prepared.payload,
            accepted_at=prepared.accepted_at,
        )
        self._store_chunks(input.submission_id, prepared)
        row = self.row(input.submission_id)
        if row is None:
            raise InternalStateError(f"[flue] Durable {input.kind} admission did not create a submission row.")
        return row

    def _store_chunks(self, submission_id: str, prepared: Prepared) -> None:
        self.database.delete(CHUNKS, submission_id=submission_id)
        for chunk in prepared.chunks:
            self.database.insert(
                CHUNKS,
                submission_id=submission_id,
                item_id=chunk.item_id,
                chunk_index=chunk.index,
                chunk_count=chunk.count,
                data=chunk.data,
            )

    def _is_replay(self, row: Row, input: DispatchInput | DirectInput, prepared: Prepared) -> bool:
        if row["kind"] != input.kind:
            return False
        stored_chunks = self.chunks(input.submission_id)
        if row["payload"] != prepared.payload:
            parse_json(row["payload"])
            try:
                return canonical_json(hydrate_payload(row["payload"], stored_chunks)) == prepared.whole
            except Exception:
                return False
        if not stored_chunks and prepared.chunks:
            self._store_chunks(input.submission_id, prepared)
            return True
        stored = {Chunk(chunk["item_id"], chunk["chunk_index"], chunk["chunk_count"], chunk["data"]) for chunk in stored_chunks}
        return stored == set(prepared.chunks)

    # -- readiness and queries --

    def get(self, submission_id: str, /) -> Submission | None:
        with self.database.transaction():
            row = self.row(submission_id)
            return None if row is None else self.parse(row)

    def mark_ready(self, submission_id: str, /) -> Submission | None:
        with self.database.transaction():
            row = self.row(submission_id)
            if row is None or row["status"] != "queued":
                return None
            if row["canonical_ready_at"] is None:
                row["canonical_ready_at"] = self.clock.now()
            return self.parse(row)

    def has_unsettled(self) -> bool:
        return any(row["status"] in UNSETTLED for row in self.ordered())

    def list_unready(self) -> list[Submission]:
        return self._scan((row for row in self.ordered("queued") if row["canonical_ready_at"] is None), "queued")

    def list_runnable(self, limit: int | None = None) -> list[Submission]:
        return self._scan(self.heads(), "queued")[:limit]

    def list_running(self) -> list[Submission]:
        return self._scan(self.ordered("running"), "running")

    def list_expired(self) -> list[Submission]:
        now = self.clock.now()
        return self._scan((row for row in self.ordered("running") if 0 < row["lease_expires_at"] < now), "running")

    def list_joined(self, host_submission_id: str, /) -> list[Submission]:
        return self._scan(self.children(host_submission_id, "joining", "joined"), "running")

    def list_pending_settlements(self) -> list[SettlementObligation]:
        return [self.obligation(row) for row in self.ordered("terminalizing")]

    def _scan(self, rows: Iterable[Row], terminable: str) -> list[Submission]:
        """Parses the rows; one that cannot be read is settled if it has the status ``terminable``, and left out (§8)."""
        with self.database.transaction():
            readable: list[Submission] = []
            for row in list(rows):
                try:
                    readable.append(parse_submission(row, self.chunks(row["submission_id"])))
                except Exception as error:
                    self.terminate(row, terminable, str(error))
            return readable
