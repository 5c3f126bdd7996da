"""The three phases of deleting a session tree (spec/submissions.md §16, with the statuses of generation 2)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flue_sqla.clock import Clock
from flue_sqla.errors import SessionBusyError
from flue_sqla.testing.model.database import MemoryDatabase
from flue_sqla.testing.model.payloads import UNSETTLED
from flue_sqla.testing.model.submission_rows import CHUNKS, TABLE

__all__ = ["SessionDeletion"]

MARKERS = "flue_agent_session_deletions"
RECEIPTS = "flue_agent_dispatch_receipts"
JOURNALS = "flue_agent_turn_journals"
SEGMENTS = "flue_agent_stream_chunks"
ATTEMPTS = "flue_agent_attempt_markers"
BUSY = (
    "[flue] Session cannot be deleted while durable agent submissions are queued or running."
    " Wait for accepted work to settle, then retry deletion."
)


class SessionDeletion:
    """Marker, callback, removal. Calls for one key share the first one's work."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._underway: dict[str, threading.Event] = {}
        self._guard = threading.Lock()

    def list_pending_deletions(self) -> list[str]:
        return [row["session_key"] for row in self.database.select(MARKERS)]

    def delete_tree(self, session_key: str, delete_tree: Callable[[], None], /) -> None:
        with self._guard:
            other = self._underway.get(session_key)
            if other is None:
                self._underway[session_key] = threading.Event()
        if other is not None:
            other.wait()
            return
        try:
            self._delete(session_key, delete_tree)
        finally:
            with self._guard:
                self._underway.pop(session_key).set()

    def _delete(self, session_key: str, delete_tree: Callable[[], None]) -> None:
        self._mark(session_key)
        try:
            delete_tree()
        except BaseException:
            self.database.delete(MARKERS, session_key=session_key)
            raise
        self._remove(session_key)

    def _mark(self, session_key: str) -> None:
        with self.database.transaction():
            rows = self.database.select(TABLE, session_key=session_key)
            if any(row["status"] in UNSETTLED for row in rows):
                raise SessionBusyError(BUSY)
            if self.database.find(MARKERS, session_key=session_key) is None:
                self.database.insert(MARKERS, session_key=session_key, started_at=self.clock.now())

    def _remove(self, session_key: str) -> None:
        with self.database.transaction():
            marker = self.database.find(MARKERS, session_key=session_key)
            if marker is None:
                return
            for row in self.database.select(TABLE, session_key=session_key, status="settled"):
                if row["accepted_at"] <= marker["started_at"]:
                    self._forget(row["submission_id"], row["kind"], row["accepted_at"])
            self.database.delete(MARKERS, session_key=session_key)

    def _forget(self, submission_id: str, kind: str, accepted_at: int) -> None:
        # Ours: whatever may be sent again leaves a receipt, a keyed prompt as well as a dispatch.
        sent_again = kind == "dispatch" or submission_id.startswith("sub_ik_")
        if sent_again and self.database.find(RECEIPTS, dispatch_id=submission_id) is None:
            self.database.insert(RECEIPTS, dispatch_id=submission_id, accepted_at=accepted_at)
        for journal in self.database.select(JOURNALS, submission_id=submission_id):
            self.database.delete(SEGMENTS, stream_key=journal["stream_key"])
        self.database.delete(JOURNALS, submission_id=submission_id)
        self.database.delete(CHUNKS, submission_id=submission_id)
        self.database.delete(ATTEMPTS, submission_id=submission_id)
        self.database.delete(TABLE, submission_id=submission_id)
