"""Removing settled submissions with everything that hangs on them, and what is left behind (spec/submissions.md §12, §16).

A dispatch, and every submission whose id came from an idempotency key, leaves a receipt in the same transaction: whoever sends it again
is told that it ran, and it never runs twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.models.tables import (
    attempt_markers,
    dispatch_receipts,
    image_chunks,
    stream_chunks,
    submission_chunks,
    submissions,
    turn_journals,
)
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor

__all__ = ["RECEIPTS_FOR_MS", "dependents", "leaves_receipt", "remove_submissions"]

RECEIPTS_FOR_MS: Final = 30 * 24 * 3_600_000
"""How long a receipt is kept unless prune is told otherwise: 30 days."""

_KEYED_PREFIX: Final = "sub_ik_"

_s = submissions.c
_IDS: sa.BindParameter[Any] = sa.bindparam("of_submissions", expanding=True)


def leaves_receipt() -> sa.ColumnElement[bool]:
    """The submissions that somebody may send again: dispatches, and those with a key-derived id."""
    return sa.or_(_s.kind == "dispatch", _s.submission_id.startswith(_KEYED_PREFIX, autoescape=True))


def _receipts(dialect: DialectImpl) -> Any:
    source = sa.select(_s.submission_id, _s.accepted_at, sa.bindparam("kept_until", type_=sa.BigInteger()), _s.session_key)
    source = source.where(_s.submission_id.in_(_IDS), leaves_receipt())
    return dialect.insert_ignore(dispatch_receipts).from_select(["dispatch_id", "accepted_at", "kept_until", "session_key"], source)


_LEAVE_RECEIPTS: PerDialect[Any] = PerDialect(_receipts)


def dependents(ids: Any) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """What hangs on submissions, in the order in which it has to go; ``ids`` is a list parameter or a query of submission ids."""
    journal = turn_journals.c
    stream_keys = sa.select(journal.stream_key).where(journal.submission_id.in_(ids), journal.stream_key.is_not(None))
    return [
        (stream_chunks, stream_chunks.c.stream_key.in_(stream_keys)),
        (turn_journals, journal.submission_id.in_(ids)),
        (image_chunks, sa.and_(image_chunks.c.owner_kind == "submission", image_chunks.c.owner_id.in_(ids))),
        (submission_chunks, submission_chunks.c.submission_id.in_(ids)),
        (attempt_markers, attempt_markers.c.submission_id.in_(ids)),
    ]


_DELETES = tuple((table.name, sa.delete(table).where(condition)) for table, condition in dependents(_IDS))
_DELETE = sa.delete(submissions).where(_s.submission_id.in_(_IDS))


def remove_submissions(executor: Executor, dialect: DialectImpl, ids: Sequence[str], *, kept_until: int) -> dict[str, int]:
    """Remove these settled submissions in the caller's transaction, and leave receipts until ``kept_until`` (epoch ms).

    Returns:
        Deleted rows by table; under ``receipts`` how many receipts were written.
    """
    parameters = {"of_submissions": list(ids)}
    counts = {"receipts": executor.execute(_LEAVE_RECEIPTS(dialect), {**parameters, "kept_until": kept_until}).rowcount}
    for table, statement in _DELETES:
        counts[table] = executor.execute(statement, parameters).rowcount
    counts[submissions.name] = executor.execute(_DELETE, parameters).rowcount
    return counts
