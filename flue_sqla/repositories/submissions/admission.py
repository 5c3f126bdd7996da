"""Accepting work exactly once (spec/submissions.md §7.1, §9.1, §12).

On PostgreSQL one statement tries the session's lock, inserts if it got it and found neither deletion marker nor receipt, and tells
what was there otherwise. Only a busy lock, images, or a row that its snapshot does not show yet need a transaction, which takes the
lock first and then looks. Elsewhere that transaction is the only way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flue_sqla.dialects.postgresql import materialized, session_lock_key
from flue_sqla.errors import (
    FlueError,
    InternalStateError,
    InvalidInputError,
    ReceiptRetainedError,
    SessionDeletionError,
    SubmissionConflictError,
)
from flue_sqla.models.tables import dispatch_receipts, session_deletions, submission_chunks, submissions
from flue_sqla.records.submission import Admission, DirectInput, DispatchInput, Receipt, Submission
from flue_sqla.repositories.notifications import notification
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.submissions.base import SubmissionPart
from flue_sqla.repositories.submissions.images import Chunk, extract_images, hydrate_images
from flue_sqla.repositories.submissions.messages import check_message
from flue_sqla.repositories.submissions.rows import QUEUED, StoredRow, columns, grouped, parse, payload_of
from flue_sqla.wire import canonical_json, parse_timestamp, require_storable, session_key

__all__ = ["AdmissionPart"]

_s = submissions
_NAMES = ("submission_id", "session_key", "kind", "payload", "status", "accepted_at")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An input as it will be stored."""

    document: dict[str, Any]
    values: dict[str, Any]
    chunks: list[Chunk]

    @property
    def submission_id(self) -> str:
        return str(self.values["submission_id"])


class _Found(NamedTuple):
    """What an admission met: at most one of the three."""

    receipt: int | None
    marker: int | None
    row: StoredRow | None


def _one_statement(*, notifying: bool) -> sa.Select[Any]:
    key = sa.bindparam("session_key", type_=sa.Text())
    submission_id = sa.bindparam("submission_id", type_=sa.Text())
    receipt = sa.select(dispatch_receipts.c.accepted_at).where(dispatch_receipts.c.dispatch_id == submission_id)
    marker = sa.select(session_deletions.c.started_at).where(session_deletions.c.session_key == key)
    # The lock comes before the identity of the row is taken: sequences then follow the order in which the lock was held.
    granted = sa.func.pg_try_advisory_xact_lock(session_lock_key(key), type_=sa.Boolean()).label("granted")
    lock = materialized(sa.select(granted), "lock")
    values = (
        submission_id,
        key,
        sa.bindparam("kind", type_=sa.Text()),
        sa.bindparam("payload", type_=sa.Text()),
        QUEUED,
        sa.bindparam("accepted_at", type_=sa.BigInteger()),
    )
    # A row that this snapshot still shows is a replay, even if a prune removes it meanwhile and the insertion would succeed.
    before = sa.select(*columns()).where(_s.c.submission_id == submission_id)
    source = sa.select(*values).select_from(lock).where(lock.c.granted, ~receipt.exists(), ~marker.exists(), ~before.exists())
    inserted = pg.insert(_s).from_select(list(_NAMES), source).on_conflict_do_nothing().returning(*columns()).cte("inserted")
    present = sa.union_all(sa.select(*columns(inserted)), before).subquery("present")
    chunk = submission_chunks
    wake = [notification("queue_payload")] if notifying else []
    return sa.select(
        *columns(present),
        chunk.c.item_id,
        chunk.c.chunk_index,
        chunk.c.chunk_count,
        chunk.c.data,
        receipt.scalar_subquery().label("receipt"),
        marker.scalar_subquery().label("marker"),
        *wake,
    ).select_from(lock.outerjoin(present, sa.true()).outerjoin(chunk, chunk.c.submission_id == present.c.submission_id))


_SILENT, _NOTIFYING = _one_statement(notifying=False), _one_statement(notifying=True)

# Locking reads: in a host's transaction with an older snapshot (MySQL's default) plain ones would not see what the lock waited for.
_RECEIPT = (
    sa.select(dispatch_receipts.c.accepted_at).where(dispatch_receipts.c.dispatch_id == sa.bindparam("id")).with_for_update(read=True)
)
_TAKE_BACK = sa.delete(_s).where(_s.c.submission_id == sa.bindparam("id"))
_MARKER = (
    sa.select(session_deletions.c.started_at)
    .where(session_deletions.c.session_key == sa.bindparam("locked_key"))
    .with_for_update(read=True)
)
_VALUES: dict[str, Any] = {name: sa.bindparam(name) for name in _NAMES}


class AdmissionPart(SubmissionPart):
    """Admission."""

    def admit_dispatch(self, dispatch: DispatchInput) -> Admission:
        """Accept an internal dispatch, or say why not.

        Returns:
            ``submission`` with the row as it is now (new, or an exact replay: it may be running or settled), ``conflict`` when the id
            holds something else, or ``retained_receipt`` when it ran and its row was pruned.

        Raises:
            InvalidInputError: the input cannot be stored or could never run; no statement was sent.
            SessionDeletionError: the session is being deleted.
        """
        return self._admit(dispatch)

    def admit_direct(self, direct: DirectInput) -> Submission:
        """Accept a prompt; the row as it is now, also for an exact replay.

        Raises:
            SubmissionConflictError: the id holds something else.
            ReceiptRetainedError: the submission ran, and its row was pruned since; it does not run again.
            InvalidInputError, SessionDeletionError: as :meth:`admit_dispatch`.
        """
        admission = self._admit(direct)
        if admission.receipt is not None:
            raise ReceiptRetainedError(
                f"Submission {direct.submission_id} was accepted before and its row has been pruned.",
                meta={"submissionId": direct.submission_id, "acceptedAt": admission.receipt.accepted_at},
            )
        if admission.submission is None:
            raise SubmissionConflictError(
                "[flue] Internal direct admission returned an unexpected result.", meta={"submissionId": direct.submission_id}
            )
        return admission.submission

    def _admit(self, submission_input: DispatchInput | DirectInput) -> Admission:
        prepared = _prepare(submission_input)
        self._key("submission_id", prepared.submission_id)
        self._key("session_key", prepared.values["session_key"])
        admission: Admission | None = None
        if self._dialect.single_statement and not prepared.chunks:
            admission = self._scope.single(lambda executor: self._decide(executor, prepared, self._look_once(executor, prepared)))
        if admission is None:
            admission = self._scope.write(lambda executor: self._admit_locked(executor, prepared))
        if admission.kind == "submission":
            self._wake_queue()
        return admission

    def _admit_locked(self, executor: Executor, prepared: _Prepared) -> Admission:
        self._dialect.check_packet(executor, prepared.values["payload"])
        self._dialect.lock_session(executor, prepared.values["session_key"])
        admission: Admission | None = None
        if self._dialect.single_statement:
            admission = self._decide(executor, prepared, self._look_once(executor, prepared))
        if admission is None:
            admission = self._decide(executor, prepared, self._look(executor, prepared))
        if admission is None:
            raise InternalStateError(
                f"[flue] Durable {prepared.values['kind']} admission did not create a submission row.",
                meta={"submissionId": prepared.submission_id},
            )
        return admission

    def _look_once(self, executor: Executor, prepared: _Prepared) -> _Found:
        parameters = {name: value for name, value in prepared.values.items() if name != "status"}
        if self._notifies:
            parameters |= self._queue_notification
        result = executor.execute(_NOTIFYING if self._notifies else _SILENT, parameters).all()
        first = result[0]
        return _Found(first.receipt, first.marker, None if first.sequence is None else grouped(result)[0])

    def _look(self, executor: Executor, prepared: _Prepared) -> _Found:
        receipt = executor.execute(_RECEIPT, {"id": prepared.submission_id}).scalar()
        marker = executor.execute(_MARKER, {"locked_key": prepared.values["session_key"]}).scalar()
        if receipt is not None or marker is not None:
            return _Found(receipt, marker, None)
        inserted = executor.execute(self._dialect.insert_ignore(_s).values(_VALUES), prepared.values).rowcount == 1
        if inserted and (receipt := executor.execute(_RECEIPT, {"id": prepared.submission_id}).scalar()) is not None:
            # The row was pruned between the two looks: the insertion waited for that, and found its place free.
            executor.execute(_TAKE_BACK, {"id": prepared.submission_id})
            return _Found(receipt, None, None)
        return _Found(None, None, self._row(executor, prepared.submission_id, newest=True))

    def _decide(self, executor: Executor, prepared: _Prepared, found: _Found) -> Admission | None:
        """The admission, or None when nothing was found and nothing was inserted."""
        if found.receipt is not None:
            return Admission(kind="retained_receipt", receipt=Receipt(submission_id=prepared.submission_id, accepted_at=found.receipt))
        if found.marker is not None:
            raise SessionDeletionError(
                "[flue] Durable agent submission admission is unavailable while this session is being deleted. "
                "Retry after deletion completes.",
                meta={"sessionKey": prepared.values["session_key"]},
            )
        return None if found.row is None else self._compare(executor, prepared, found.row)

    def _compare(self, executor: Executor, prepared: _Prepared, row: StoredRow) -> Admission:
        conflict = Admission(kind="conflict")
        if row.values["kind"] != prepared.values["kind"]:
            return conflict
        if row.values["payload"] != prepared.values["payload"]:
            if not _same_document(row, prepared):
                return conflict
        elif prepared.chunks and not row.chunks:
            self._insert_chunks(executor, prepared)
            row = StoredRow(row.values, prepared.chunks)
        elif sorted(row.chunks) != sorted(prepared.chunks):
            return conflict
        return Admission(kind="submission", submission=parse(row))

    def _insert_chunks(self, executor: Executor, prepared: _Prepared) -> None:
        rows = [{"submission_id": prepared.submission_id, **_chunk_values(chunk)} for chunk in prepared.chunks]
        for row in rows:
            self._dialect.check_packet(executor, row["data"])
        # Chunk by chunk: together, the images of one message may exceed what a statement may carry.
        for row in rows:
            executor.execute(sa.insert(submission_chunks), row)


def _prepare(submission_input: DispatchInput | DirectInput) -> _Prepared:
    kind = submission_input.kind
    try:
        accepted_at = parse_timestamp(submission_input.accepted_at)
    except ValueError:
        raise InvalidInputError(
            f"[flue] Internal {kind} admission received an invalid acceptedAt timestamp.",
            meta={"acceptedAt": submission_input.accepted_at},
            remedy="Send an ISO-8601 time such as 2026-06-03T00:00:00.000Z.",
        ) from None
    require_storable(submission_input.submission_id, "submission_id")
    check_message(submission_input.message)
    document = submission_input.to_payload()
    payload, chunks = extract_images(document)
    for chunk in chunks:
        require_storable(chunk.data, "image data")
    values = {
        "submission_id": submission_input.submission_id,
        "session_key": session_key(submission_input.agent, submission_input.id),
        "kind": kind,
        "payload": canonical_json(payload),
        "status": "queued",
        "accepted_at": accepted_at,
    }
    return _Prepared(document, values, chunks)


def _same_document(row: StoredRow, prepared: _Prepared) -> bool:
    stored = payload_of(row)
    if not isinstance(stored, dict):
        return False
    try:
        return canonical_json(hydrate_images(stored, row.chunks)) == canonical_json(prepared.document)
    except FlueError:
        return False


def _chunk_values(chunk: Chunk) -> dict[str, Any]:
    return {"item_id": chunk.item_id, "chunk_index": chunk.index, "chunk_count": chunk.count, "data": chunk.data}
