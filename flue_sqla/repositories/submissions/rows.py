"""Submission rows: the columns that are read, and how a row becomes a :class:`Submission` (spec/submissions.md §3.3, §5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.errors import MalformedRowError
from flue_sqla.models.tables import submission_chunks, submissions
from flue_sqla.records.submission import Submission
from flue_sqla.repositories.submissions.images import Chunk, hydrate_images
from flue_sqla.repositories.submissions.messages import message_problem
from flue_sqla.wire import parse_json, parse_timestamp, session_key

__all__ = [
    "COLUMNS",
    "JOINED",
    "JOINING",
    "QUEUED",
    "RUNNING",
    "SETTLED",
    "TERMINALIZING",
    "StoredRow",
    "earlier_unsettled",
    "grouped",
    "newest_with_chunks",
    "parse",
    "payload_of",
    "record_of",
    "unsettled",
    "with_chunks",
]


def _status(name: str) -> sa.ColumnElement[str]:
    # Written into the statement: a bound parameter would keep the planner from using the partial indexes.
    return sa.literal_column(f"'{name}'", sa.Text())


QUEUED: Final = _status("queued")
RUNNING: Final = _status("running")
TERMINALIZING: Final = _status("terminalizing")
JOINING: Final = _status("joining")
JOINED: Final = _status("joined")
SETTLED: Final = _status("settled")

UNSETTLED: Final = (QUEUED, RUNNING, TERMINALIZING, JOINING, JOINED)

_STATUSES = frozenset({"queued", "running", "terminalizing", "joining", "joined", "settled"})
_KINDS = frozenset({"dispatch", "direct"})

COLUMNS: Final[tuple[str, ...]] = (
    "sequence",
    "submission_id",
    "session_key",
    "kind",
    "payload",
    "status",
    "accepted_at",
    "canonical_ready_at",
    "attempt_id",
    "input_applied_at",
    "abort_requested_at",
    "started_at",
    "joined_into",
    "settled_at",
    "error",
    "attempt_count",
    "max_attempts",
    "timeout_at",
    "owner_id",
    "lease_expires_at",
)
_WIDTH = len(COLUMNS)


def unsettled(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """The rows that still have a future. The first condition is implied by the second; it is the one that the partial index has."""
    return sa.and_(table.c.status != SETTLED, table.c.status.in_(UNSETTLED))


def earlier_unsettled(earlier: sa.FromClause, lane: Any, sequence: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """The rows of a session before ``sequence`` that still have a future: what makes a row not the head (spec/submissions.md §6)."""
    return sa.and_(
        earlier.c.session_key == lane,
        earlier.c.sequence < sequence,
        # Once more, as a condition that no index serves: with statistics, SQLite 3.40 finds one entry too many where an equality, an
        # IN and a range on the same index meet (the row itself, which then blocks itself for ever).
        earlier.c.sequence + sa.literal_column("0", sa.Integer()) < sequence,
        unsettled(earlier),
    )


class StoredRow(NamedTuple):
    """One row as it lies in the database, with the chunks of its images."""

    values: dict[str, Any]
    chunks: list[Chunk]

    @property
    def sequence(self) -> int:
        return int(self.values["sequence"])


def with_chunks(source: sa.FromClause) -> sa.Select[Any]:
    """Select submissions together with their chunk rows, one result row per chunk, in admission order."""
    chunk = submission_chunks
    return (
        sa.select(
            *(source.c[name] for name in COLUMNS),
            chunk.c.item_id,
            chunk.c.chunk_index,
            chunk.c.chunk_count,
            chunk.c.data,
        )
        .select_from(source.outerjoin(chunk, chunk.c.submission_id == source.c.submission_id))
        .order_by(source.c.sequence)
    )


def newest_with_chunks(dialect: DialectImpl, source: sa.Select[Any]) -> sa.Select[Any]:
    """The same as it is now, also in a transaction with an older snapshot (MySQL's default), where a plain read shows neither.

    Of all tables where that can be: MySQL reads those that are not named as of the snapshot.
    """
    return source.with_for_update(of=None if dialect.locks_outer_joins else submissions)


def columns(source: sa.FromClause = submissions) -> list[sa.ColumnElement[Any]]:
    """The columns of :class:`StoredRow`, for RETURNING and CTEs."""
    return [source.c[name] for name in COLUMNS]


def grouped(result: Iterable[Sequence[Any]]) -> list[StoredRow]:
    """The result of :func:`with_chunks` as one :class:`StoredRow` per submission."""
    rows: list[StoredRow] = []
    for row in result:
        if not rows or rows[-1].values["sequence"] != row[0]:
            rows.append(StoredRow(dict(zip(COLUMNS, row[:_WIDTH], strict=True)), []))
        if row[_WIDTH] is not None:
            rows[-1].chunks.append(Chunk(*row[_WIDTH : _WIDTH + 4]))
    return rows


def parse(row: StoredRow) -> Submission:
    """The submission that a row stands for.

    Raises:
        MalformedRowError: the row, its payload or its chunks break the contract; executing it could run one submission's message under
            another's identity.
    """
    values = dict(row.values)
    if not isinstance(values["lease_expires_at"], int):  # only SQLite can hold such (spec/submissions.md §5.1)
        values["lease_expires_at"] = 0
    if not _is_row(values):
        raise _malformed(values, "row")
    payload = payload_of(row)
    if not isinstance(payload, dict):
        raise _malformed(values, "payload")
    payload = hydrate_images(payload, row.chunks)
    if not _is_payload(payload, values):
        raise _malformed(values, "payload")
    del values["payload"]
    return Submission.model_construct(**values, input=payload)


def payload_of(row: StoredRow) -> Any:
    """The stored payload, whatever JSON it is, its images not yet in place.

    Raises:
        MalformedRowError: it is no JSON.
    """
    try:
        return parse_json(row.values["payload"])
    except (TypeError, ValueError) as error:
        raise MalformedRowError(str(error), meta={"submissionId": row.values["submission_id"]}) from error


def record_of(text: str | None) -> dict[str, Any] | None:
    """A stored settlement record; None where there is none, or something else stands in its place."""
    try:
        record = parse_json(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _malformed(values: dict[str, Any], part: str) -> MalformedRowError:
    subject = "row" if part == "row" else "payload"
    return MalformedRowError(
        f"[flue] Persisted agent submission {subject} is malformed.",
        meta={"submissionId": values.get("submission_id")},
        remedy="Find out who wrote the row; a scan of a worker settles it as failed.",
    )


def _is_row(values: dict[str, Any]) -> bool:
    status = values["status"]
    if values["kind"] not in _KINDS or status not in _STATUSES or not isinstance(values["payload"], str):
        return False
    numbers = ("sequence", "accepted_at", "attempt_count", "max_attempts", "timeout_at")
    if not all(isinstance(values[name], int) for name in numbers):
        return False
    if status == "queued":
        return all(values[name] is None for name in ("attempt_id", "input_applied_at", "started_at", "joined_into"))
    if status in ("joining", "joined"):
        return values["joined_into"] is not None
    if status in ("running", "terminalizing"):
        return values["attempt_id"] is not None and values["started_at"] is not None
    return True


def _is_payload(payload: dict[str, Any], values: dict[str, Any]) -> bool:
    agent, instance_id, accepted_at = payload.get("agent"), payload.get("id"), payload.get("acceptedAt")
    if payload.get("kind") != values["kind"] or payload.get("submissionId") != values["submission_id"]:
        return False
    if not (isinstance(agent, str) and isinstance(instance_id, str) and isinstance(accepted_at, str)):
        return False
    if session_key(agent, instance_id) != values["session_key"] or message_problem(payload.get("message")) is not None:
        return False
    try:
        return parse_timestamp(accepted_at) == int(values["accepted_at"])
    except ValueError:
        return False
