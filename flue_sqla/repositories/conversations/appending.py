"""Appending a batch: one statement where that can be, a locked transaction everywhere else (spec/streams.md §3.3)."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import sqlalchemy as sa

from flue_sqla.models.tables import batch_chunks
from flue_sqla.repositories.batching import in_batches
from flue_sqla.repositories.conversations import statements
from flue_sqla.repositories.conversations.batch import Batch
from flue_sqla.repositories.conversations.reading import stored_text
from flue_sqla.repositories.conversations.spilling import cut, is_long, sentinel
from flue_sqla.repositories.notifications import notification_of, notifies
from flue_sqla.repositories.scope import Executor, Operation, Scope
from flue_sqla.signals import stream_topic
from flue_sqla.wire import format_offset

__all__ = ["append"]

_INSERT_CHUNK = sa.insert(batch_chunks)


def append(scope: Scope, batch: Batch) -> str:
    """Append ``batch`` and wake the local listeners of its path; the offset. A repetition of it writes nothing and wakes nobody."""
    offset, new = _appended(scope, batch)
    if new:
        topic = stream_topic(batch.path)
        scope.after_commit(lambda: scope.signals.publish(topic))
    return offset


def _appended(scope: Scope, batch: Batch) -> tuple[str, bool]:
    if scope.dialect.single_statement and not batch.deliveries:
        # With a foreign record the batch is refused in any case; which check refuses it, the look says.
        offset = None if batch.foreign else scope.single(partial(_in_one, scope, batch), confirm=partial(_earlier, scope, batch))
        if offset is not None:
            return offset, True
        offset = scope.read(partial(_look, batch))
        if offset is not None:
            return offset, False
        # Nothing speaks against it any more: a lock let go, or an identity written in a way that only Python reads.
    arrived = cast("Operation[tuple[str, bool]]", partial(_arrived, scope, batch))  # None tells that it has not
    return scope.write(partial(_locked, scope, batch), confirm=arrived)


def _in_one(scope: Scope, batch: Batch, executor: Executor) -> str | None:
    parameters: dict[str, Any] = {**_claim(batch), "of_incarnation": batch.incarnation, "of_data": batch.data}
    notifying = notifies(scope)
    if notifying:
        parameters |= notification_of(scope, stream_topic(batch.path))
    if batch.submission is not None:
        record_id, text = batch.settlement or (None, None)
        parameters |= {
            "of_submission": batch.submission.submission_id,
            "of_attempt": batch.submission.attempt_id,
            "of_settlement_id": record_id,
            "of_settlement": text,
        }
    statement = statements.append_in_one(owned=batch.submission is not None, notifying=notifying)
    row = executor.execute(statement, parameters).first()
    return None if row is None else format_offset(row.seq)


def _look(batch: Batch, executor: Executor) -> str | None:
    """Why nothing was appended: the refusal, or the offset of the same batch appended before; None if nothing is against it now."""
    submission = None if batch.submission is None else batch.submission.submission_id
    stream = batch.check_producer(executor.execute(statements.LOOK, {**_claim(batch), "of_submission": submission}).first())
    if stream.earlier_seq is not None:
        return batch.check_earlier(stream.earlier_seq, stream.earlier_data, stream.earlier_submission_id, stream.earlier_attempt_id)
    batch.check_sequence(stream)
    batch.check_authorization(stream, {} if stream.submission_id is None else {stream.submission_id: stream})
    return None


def _locked(scope: Scope, batch: Batch, executor: Executor) -> tuple[str, bool]:
    scope.dialect.check_packet(executor, batch.data)
    stream = batch.check_producer(executor.execute(statements.LOCKED_STREAM, {"of_path": batch.path}).first())
    if stream.next_producer_sequence != batch.producer_sequence:
        offset = _earlier(scope, batch, executor)
        if offset is not None:
            return offset, False
    batch.check_sequence(stream)
    batch.check_authorization(stream, _locked_work(executor, batch))
    _insert(scope, executor, batch, stream.next_offset)
    executor.execute(statements.ADVANCE, {"of_path": batch.path})
    if notifies(scope):
        executor.execute(statements.NOTIFY, notification_of(scope, stream_topic(batch.path)))
    return format_offset(stream.next_offset), True


def _earlier(scope: Scope, batch: Batch, executor: Executor) -> str | None:
    """The offset under which this very batch was appended before; None if nothing was appended under its sequence."""
    statement = statements.EARLIER if scope.dialect.single_statement else statements.NEWEST_EARLIER
    row = executor.execute(statement, _claim(batch)).first()
    if row is None:
        return None
    text = stored_text(executor, scope.dialect, batch.path, row.earlier_seq, row.earlier_data, batch.refused)
    return batch.check_earlier(row.earlier_seq, text, row.earlier_submission_id, row.earlier_attempt_id)


def _arrived(scope: Scope, batch: Batch, executor: Executor) -> tuple[str, bool] | None:
    """After a lost answer: the batch is there, and nobody was woken for it yet."""
    offset = _earlier(scope, batch, executor)
    return None if offset is None else (offset, True)


def _locked_work(executor: Executor, batch: Batch) -> dict[str, sa.Row[Any]]:
    if batch.submission is None:
        return {}
    ids = [batch.submission.submission_id, *(batch.deliveries or ())]
    # The host first: whoever locks one of its deliveries has locked it before.
    locked = (executor.execute(statements.LOCKED_WORK, {"of_submissions": some}) for some in in_batches(ids))
    return {row.submission_id: row for rows in locked for row in rows}


def _insert(scope: Scope, executor: Executor, batch: Batch, seq: int) -> None:
    parts = cut(batch.data) if scope.dialect.chunked_values and is_long(batch.data) else []
    row: dict[str, Any] = {
        "path": batch.path,
        "seq": seq,
        "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch,
        "producer_sequence": batch.producer_sequence,
        "data": sentinel(len(parts)) if parts else batch.data,
        "submission_id": None if batch.submission is None else batch.submission.submission_id,
        "attempt_id": None if batch.submission is None else batch.submission.attempt_id,
    }
    executor.execute(statements.INSERT_BATCH, row)
    if parts:
        executor.execute(
            _INSERT_CHUNK,
            [
                {"path": batch.path, "seq": seq, "chunk_index": index, "chunk_count": len(parts), "data": part}
                for index, part in enumerate(parts)
            ],
        )


def _claim(batch: Batch) -> dict[str, Any]:
    return {
        "of_path": batch.path,
        "of_producer": batch.producer_id,
        "of_epoch": batch.producer_epoch,
        "of_sequence": batch.producer_sequence,
    }
